"""Plug-and-Play image restoration whose convergence is proven, checked and shown.

Importing the package loads nothing heavy. The public names are listed in ``__init__.pyi``; each one is loaded at its
first use.
"""

import lazy_loader as _lazy

__version__ = "0.1.0"

_load, __dir__, _names = _lazy.attach_stub(__name__, __file__)
__all__ = ["__version__", *_names]


def __getattr__(name: str) -> object:
    """Load a public name from the module that defines it."""
    if name not in _names:
        raise AttributeError(f"module 'pnpkit' has no attribute '{name}'")
    return _load(name)
