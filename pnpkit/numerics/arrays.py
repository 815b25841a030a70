"""Arrays and tensors as the package takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pnpkit.errors import InputError


def real(values: Any, what: str) -> Tensor:
    """Real, finite floats as a tensor. Arrays of numpy, of any byte order, are copied; integers become float64.

    Raises:
        InputError: complex, NaN or infinite values; ``what`` names them.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        values = values.astype(np.float64) if values.dtype.itemsize > 8 else values
        values = torch.from_numpy(np.array(values, dtype=values.dtype.newbyteorder("="), order="C"))
    if not isinstance(values, Tensor) or values.is_complex():
        raise InputError(f"{what} must hold real numbers, got {getattr(values, 'dtype', type(values).__name__)}")
    values = values if values.is_floating_point() else values.double()
    bad = values.numel() - int(torch.isfinite(values).sum())
    if bad:
        raise InputError(f"{what} must hold finite numbers, got {bad} NaN or inf among {values.numel()}")
    return values
