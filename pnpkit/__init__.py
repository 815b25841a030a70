"""pnpkit: Plug-and-Play image restoration whose convergence is proven, checked and shown.

Importing the package loads nothing heavy; each name below is loaded at its first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pnpkit.algorithms import fista as fista
    from pnpkit.algorithms import ista as ista
    from pnpkit.algorithms import plug_and_play as plug_and_play
    from pnpkit.algorithms import projected_gradient as projected_gradient
    from pnpkit.algorithms import proximal_gradient as proximal_gradient
    from pnpkit.algorithms import regularised as regularised
    from pnpkit.certificates import Certificate as Certificate
    from pnpkit.certificates import Side as Side
    from pnpkit.certificates import nothing as nothing
    from pnpkit.completion import inpaint as inpaint
    from pnpkit.completion import upscale as upscale
    from pnpkit.errors import InputError as InputError
    from pnpkit.errors import PnpError as PnpError
    from pnpkit.fidelity import LeastSquares as LeastSquares
    from pnpkit.iterations import Anderson as Anderson
    from pnpkit.iterations import Fista as Fista
    from pnpkit.iterations import Halpern as Halpern
    from pnpkit.iterations import KrasnoselskiiMann as KrasnoselskiiMann
    from pnpkit.iterations import Picard as Picard
    from pnpkit.maps import Map as Map
    from pnpkit.operators import blur as blur
    from pnpkit.operators import norm_bound as norm_bound
    from pnpkit.problem import Restoration as Restoration
    from pnpkit.registry import Card as Card
    from pnpkit.registry import certify as certify
    from pnpkit.registry import denoisers as denoisers
    from pnpkit.registry import load_denoiser as load_denoiser
    from pnpkit.restore import deblur as deblur
    from pnpkit.restore import denoise as denoise
    from pnpkit.restore import estimate_kernel as estimate_kernel
    from pnpkit.restore import simulate as simulate
    from pnpkit.solver import Result as Result
    from pnpkit.solver import Status as Status
    from pnpkit.solver import solve as solve
    from pnpkit.splittings import admm as admm
    from pnpkit.splittings import continuation as continuation
    from pnpkit.splittings import davis_yin as davis_yin
    from pnpkit.splittings import douglas_rachford as douglas_rachford
    from pnpkit.splittings import forward_backward as forward_backward
    from pnpkit.splittings import half_quadratic as half_quadratic

_HOMES = {
    "Card": "registry",
    "Certificate": "certificates",
    "Halpern": "iterations",
    "InputError": "errors",
    "Anderson": "iterations",
    "Fista": "iterations",
    "KrasnoselskiiMann": "iterations",
    "LeastSquares": "fidelity",
    "Map": "maps",
    "Picard": "iterations",
    "PnpError": "errors",
    "Restoration": "problem",
    "Result": "solver",
    "Side": "certificates",
    "Status": "solver",
    "blur": "operators",
    "certify": "registry",
    "deblur": "restore",
    "denoise": "restore",
    "denoisers": "registry",
    "estimate_kernel": "restore",
    "fista": "algorithms",
    "admm": "splittings",
    "continuation": "splittings",
    "davis_yin": "splittings",
    "douglas_rachford": "splittings",
    "half_quadratic": "splittings",
    "forward_backward": "splittings",
    "inpaint": "completion",
    "ista": "algorithms",
    "load_denoiser": "registry",
    "norm_bound": "operators",
    "nothing": "certificates",
    "plug_and_play": "algorithms",
    "projected_gradient": "algorithms",
    "proximal_gradient": "algorithms",
    "regularised": "algorithms",
    "simulate": "restore",
    "solve": "solver",
    "upscale": "completion",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pnpkit' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"pnpkit.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
