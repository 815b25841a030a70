"""pnpkit: Plug-and-Play image restoration whose convergence is proven, checked and shown.

Importing the package loads nothing heavy. The public names stand in ``__init__.pyi``; each is loaded at its first use.
"""

import lazy_loader as _lazy

__version__ = "0.1.0"

_load, __dir__, _names = _lazy.attach_stub(__name__, __file__)
__all__ = ["__version__", *_names]


def __getattr__(name: str) -> object:
    """A public name, from its room."""
    if name not in _names:
        raise AttributeError(f"module 'pnpkit' has no attribute '{name}'")
    return _load(name)
