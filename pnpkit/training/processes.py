"""Exchange between the processes of a distributed training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pnpkit.machine import distributed


def share_gradients(network: nn.Module) -> None:
    """Every process gets the mean over the processes; for a replica torch does that itself."""
    if distributed.world() > 1:
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.grad = distributed.total(parameter.grad / distributed.world())


def to_device(batch: tuple[Tensor, Tensor, Tensor], device: str) -> list[Tensor]:
    """This process's share of the batch; on its way to a GPU it holds nothing up."""
    shares = [distributed.share(t) for t in batch]
    if torch.device(device).type != "cuda":
        return shares
    return [t.pin_memory().to(device, non_blocking=True) for t in shares]


def agreed(loss: Tensor, norm: Tensor, elapsed: float) -> list[float]:
    """Loss and gradient norm, means over the processes, and the seconds by the clock of rank 0.

    The one place in a step where the device is waited for.
    """
    first, count = distributed.rank() == 0, distributed.world()
    numbers = torch.stack([loss.detach() / count, norm.detach() / count, loss.new_tensor(elapsed * first)])
    return distributed.total(numbers).tolist()
