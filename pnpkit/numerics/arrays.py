"""Conversion and checks of arrays and tensors that are passed to the package."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pnpkit.errors import InputError


def real(values: Any, what: str) -> Tensor:
    """Return real, finite numbers as a float tensor.

    Arrays of numpy, of any byte order, are copied. Integers become float64.

    Raises:
        InputError: a value is complex, NaN or infinite. The message names the values by ``what``.
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
