"""A limit on what a file can make the program allocate, checked before the memory is allocated."""

from __future__ import annotations

import math
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from pnpkit.errors import CardError


class Allowance(TorchDispatchMode):
    """Limit new tensors inside the block to ``tensors`` tensors with ``numbers`` values in all.

    Tensors computed from other tensors do not count.

    Raises:
        CardError: raised by the call that asks for more, before it allocates.
    """

    def __init__(self, numbers: int, tensors: int):
        super().__init__()
        self.left, self.calls, self.numbers, self.tensors = numbers, tensors, numbers, tensors

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        size = args[0] if args else ()
        if isinstance(size, (list, tuple)) and all(isinstance(n, int) for n in size):
            self.left -= math.prod(size)
            self.calls -= 1
        if self.left < 0:
            raise CardError(f"what the card describes is larger than its weights: over {self.numbers} numbers")
        if self.calls < 0:
            raise CardError(f"what the card describes has more parts than its weights: over {self.tensors} tensors")
        return function(*args, **(kwargs or {}))
