r"""The named algorithms. Each is one call that combines a splitting, an iteration and the loop.

All solve min_x 1/2 ||A x - y||^2 + g(x), or the same with another data term, ``fidelity``. ``operator`` is a deepinv
``LinearPhysics``; or a matrix of numpy, torch or scipy, dense or sparse; or anything that scipy's ``aslinearoperator``
takes, for instance an operator of pylops. With a matrix or a scipy operator, y is a vector (m,) or a batch (B, m), and
x has the same form.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import torch
from deepinv.optim import Prior
from deepinv.physics import LinearPhysics
from deepinv.utils import TensorList
from torch import Tensor

from pnpkit import proximal
from pnpkit.errors import InputError
from pnpkit.fidelities.base import Fidelity
from pnpkit.fidelities.data import DataTerm
from pnpkit.fidelities.least_squares import LeastSquares
from pnpkit.interop import as_map, from_prior
from pnpkit.maps import Map
from pnpkit.networks.base import Network
from pnpkit.numerics.arrays import real
from pnpkit.operators.matrix import MatrixPhysics, ScipyPhysics, from_matrix
from pnpkit.registry import open_denoiser
from pnpkit.solvers.iterations import Fista, Iteration, Picard
from pnpkit.solvers.loop import solve
from pnpkit.solvers.result import Result, Step
from pnpkit.solvers.splittings import forward_backward, penalised

Operator: TypeAlias = Any  # a LinearPhysics, a matrix (numpy, torch, scipy) or what scipy's aslinearoperator takes


Measurement: TypeAlias = np.ndarray | Tensor | TensorList


Data: TypeAlias = Callable[[LinearPhysics, Any], DataTerm]  # (A, y) -> f


Callback = Callable[[Step], None]


def proximal_gradient(
    operator: Operator,
    y: Measurement,
    prox: Callable[[float], Map] | Prior,
    *,
    fidelity: Data = LeastSquares,
    tau: float | None = None,
    iteration: Iteration | None = None,
    tol: float = 1e-6,
    max_steps: int = 10_000,
    callback: Callback | None = None,
) -> Result:
    """x+ = prox_{tau g}(x - tau A^T (A x - y)) (Combettes & Wajs 2005).

    Args:
        operator: A, a deepinv LinearPhysics, a matrix (m, n), or anything that scipy's ``aslinearoperator`` takes.
        y: the measurement, floats: (m,) for a matrix, (B, C, H, W) for physics, a ``TensorList`` for a stack of
            physics. The result is a numpy array if y is one.
        prox: a function tau -> the proximal map of tau g, e.g. ``lambda tau: proximal.soft_threshold(tau * 0.1)``; or a
            deepinv prior g (``interop.from_prior``).
        fidelity: a function (A, y) -> f, the data term, where A is a LinearPhysics and y a batch, e.g.
            ``lambda A, y: pk.Huber(A, y, 0.1)``; default least squares. The gradient of f replaces A^T (A x - y).
        tau: step size in (0, 2/L); default 1.9/L or, for ``Fista``, 1/L.
        iteration: default Picard.
        tol, max_steps, callback: see ``solve``.

    Raises:
        StepSizeError: tau is outside (0, 2/L).
        InputError: y does not consist of finite floats, or does not fit A.

    Example:
        >>> import numpy as np
        >>> import pnpkit as pk
        >>> from pnpkit import proximal
        >>> run = pk.proximal_gradient(np.eye(2), np.array([1.0, -1.0]), lambda tau: proximal.nonnegative(), tol=1e-10)
        >>> (run.x.round(6) + 0.0).tolist()
        [1.0, 0.0]
    """
    physics, data, back = open_problem(operator, y)
    f, runner = fidelity(physics, data), Picard() if iteration is None else iteration
    if isinstance(runner, type) or not isinstance(runner, Iteration):
        raise InputError(f"expected an iteration, Picard() or Fista() for instance, got {runner!r}")
    tau = f.step_size(runner.tau_L) if tau is None else tau
    at = from_prior(prox) if isinstance(prox, Prior) else prox
    map = forward_backward(f, at(tau), tau)
    return back(solve(map, f.start(), iteration=runner, tol=tol, max_steps=max_steps, callback=callback))


def projected_gradient(operator: Operator, y: Measurement, limits: tuple[float, float] | Map, **options: Any) -> Result:
    """Minimise 1/2 ||A x - y||^2 over a box (low, high), or over a convex set given by its projection.

    Options, types and errors are those of ``proximal_gradient``.

    Example:
        >>> import numpy as np
        >>> import pnpkit as pk
        >>> run = pk.projected_gradient(np.eye(2), np.array([0.5, 3.0]), (0, 1), tol=1e-10)
        >>> run.x.round(6).tolist()
        [0.5, 1.0]
    """
    projection = limits if isinstance(limits, Map) else proximal.box(*limits)
    return proximal_gradient(operator, y, lambda tau: projection, **options)


def ista(operator: Operator, y: Measurement, weight: float, **options: Any) -> Result:
    """Minimise 1/2 ||A x - y||^2 + weight ||x||_1 by proximal gradient steps (Daubechies et al. 2004).

    Options, types and errors are those of ``proximal_gradient``.

    Example:
        >>> import numpy as np
        >>> import pnpkit as pk
        >>> run = pk.ista(np.eye(2), np.array([3.0, 0.1]), weight=0.5, tol=1e-10)
        >>> run.x.round(6).tolist()
        [2.5, 0.0]
    """
    return proximal_gradient(operator, y, lambda tau: proximal.soft_threshold(tau * weight), **options)


def fista(operator: Operator, y: Measurement, weight: float, **options: Any) -> Result:
    """Run ``ista`` with the momentum of Chambolle & Dossal (2015). tau = 1/L unless it is given.

    Options, types and errors are those of ``proximal_gradient``.

    Example:
        >>> import numpy as np
        >>> import pnpkit as pk
        >>> run = pk.fista(np.eye(2), np.array([3.0, 0.1]), weight=0.5, tol=1e-10)
        >>> run.x.round(6).tolist(), run.status.name
        ([2.5, 0.0], 'CONVERGED')
    """
    return ista(operator, y, weight, **{"iteration": Fista(), **options})


def regularised(
    operator: Operator,
    y: Measurement,
    regulariser: Fidelity,
    *,
    fidelity: Data = LeastSquares,
    limits: tuple[float, float] = (0.0, 1.0),
    x0: np.ndarray | Tensor | None = None,
    iteration: Iteration | None = None,
    tol: float = 1e-6,
    max_steps: int = 10_000,
    callback: Callback | None = None,
) -> Result:
    """Minimise 1/2 ||A x - y||^2 + R(x) over a box, where R is convex and smooth, so that the minimum is global.

    The steps are projected gradient steps with tau = 1/L, where L is that of the sum. FISTA iterates them unless
    ``iteration`` is given. ``objective`` of the result is the value of the minimum.

    Args:
        regulariser: R, e.g. ``load_denoiser("ridge").regulariser(sigma, image_size, weight)``, or a ``Smooth``.
        fidelity: as in ``proximal_gradient``.
        limits: the box; (-inf, inf) for none.
        x0: first iterate; default A^T y.
    """
    physics, data, back = open_problem(operator, y)
    f = fidelity(physics, data)
    map = penalised(f, regulariser, limits)
    start = first_iterate(f, x0)
    return back(solve(map, start, iteration=iteration or Fista(), tol=tol, max_steps=max_steps, callback=callback))


def plug_and_play(
    operator: Operator,
    y: Measurement,
    denoiser: str | os.PathLike[str] | Network | Callable[[Tensor, float], Tensor] | Map,
    *,
    strength: float,
    fidelity: Data = LeastSquares,
    limits: tuple[float, float] | None = (0.0, 1.0),
    tau: float | None = None,
    x0: np.ndarray | Tensor | None = None,
    iteration: Iteration | None = None,
    tol: float = 1e-4,
    max_steps: int = 1000,
    callback: Callback | None = None,
) -> Result:
    """x+ = proj(D_strength(x - tau A^T (A x - y))) (Venkatakrishnan et al. 2013; Ryu et al. 2019).

    Args:
        operator, y: as in ``proximal_gradient``; pictures are (B, C, H, W), 0..1 scale.
        denoiser: a name or a path, as in ``load_denoiser``; a pnpkit network; a Map (then ``strength`` is its scaling s
            in D(s x) / s); or any callable D(x, sigma), for instance a deepinv denoiser, for which nothing is
            guaranteed.
        strength: sigma of the denoiser on the same scale.
        fidelity: as in ``proximal_gradient``; ``interop.fidelity_of`` follows the noise model of deepinv physics.
        limits: box of the final projection. None omits it; then it is an assumption that a fixed point exists.
        tau: step size in (0, 2/L); default 1.9/L.
        x0: first iterate; default A^T y.

    Raises:
        StepSizeError: tau is outside (0, 2/L).
        InputError: y does not consist of finite floats, or the strength is outside the denoiser's range.

    Example:
        >>> import numpy as np
        >>> import torch
        >>> import pnpkit as pk
        >>> from pnpkit import kernels
        >>> A = pk.blur(kernels.box(3), "circular", (16, 16))
        >>> run = pk.plug_and_play(A, torch.rand(1, 3, 16, 16), "wavelet", strength=0.05, max_steps=3)
        >>> bool(run.guarantee)
        True
    """
    physics, data, back = open_problem(operator, y)
    f = fidelity(physics, data)
    if isinstance(denoiser, (str, os.PathLike)):
        denoiser = open_denoiser(denoiser, device=str(f.start().device))
    map = forward_backward(f, as_map(denoiser, strength), tau, limits)
    start = first_iterate(f, x0)
    return back(solve(map, start, iteration=iteration, tol=tol, max_steps=max_steps, callback=callback))


def open_problem(
    operator: Operator, y: Measurement
) -> tuple[LinearPhysics, Tensor | TensorList, Callable[[Result], Result]]:
    """Return the physics, the data as a batch, and a function that converts a result to the form of y.

    The form is numpy or torch, vector or batch. A matrix and y of different floating-point types are converted to the
    larger type.
    """
    data = TensorList([real(part, "y") for part in y]) if isinstance(y, TensorList) else real(y, "y")
    physics = operator if isinstance(operator, LinearPhysics) else from_matrix(operator)
    vector = isinstance(data, Tensor) and data.ndim == 1
    if isinstance(physics, (MatrixPhysics, ScipyPhysics)):
        if not isinstance(data, Tensor) or data.ndim not in (1, 2) or data.shape[-1] != physics.shape[0]:
            came = tuple(data.shape)
            raise InputError(f"y must be ({physics.shape[0]},) or a batch of that for this operator, got {came}")
        if isinstance(physics, MatrixPhysics) and physics.matrix.dtype != data.dtype:
            common = torch.promote_types(physics.matrix.dtype, data.dtype)
            physics, data = MatrixPhysics(physics.matrix.to(common)), data.to(common)

    def back(run: Result) -> Result:
        x = run.x[0] if vector else run.x
        return replace(run, x=x.cpu().numpy() if isinstance(y, np.ndarray) else x)

    return physics, data[None] if vector else data, back


def first_iterate(fidelity: DataTerm, x0: np.ndarray | Tensor | None) -> Tensor:
    """Return x0 as a batch, or A^T y if it is None."""
    usual = fidelity.start()
    if x0 is None:
        return usual
    start = real(x0, "x0").to(usual)
    start = start[None] if start.ndim == usual.ndim - 1 else start
    if start.shape[1:] != usual.shape[1:]:
        raise InputError(f"x0 must have the shape of A^T y, {tuple(usual.shape)}, got {tuple(start.shape)}")
    return start
