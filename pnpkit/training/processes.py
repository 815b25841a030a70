"""Exchange between the processes of a distributed training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pnpkit.machine import distributed


def share_gradients(network: nn.Module) -> None:
    """Average the gradients over the processes. For a replica torch does this itself."""
    if distributed.world() > 1:
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.grad = distributed.total(parameter.grad / distributed.world())


def to_device(batch: tuple[Tensor, Tensor, Tensor], device: str) -> list[Tensor]:
    """Return this process's share of the batch on the device. A copy to a GPU does not block."""
    shares = [distributed.share(t) for t in batch]
    if torch.device(device).type != "cuda":
        return shares
    return [t.pin_memory().to(device, non_blocking=True) for t in shares]


def agreed(loss: Tensor, norm: Tensor, elapsed: float) -> list[float]:
    """Return loss and gradient norm averaged over the processes, and the seconds by the clock of rank 0.

    This is the only place in a step that waits for the device.
    """
    first, count = distributed.rank() == 0, distributed.world()
    numbers = torch.stack([loss.detach() / count, norm.detach() / count, loss.new_tensor(elapsed * first)])
    return distributed.total(numbers).tolist()
