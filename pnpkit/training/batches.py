"""Training batches: random crops of pictures with added noise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pnpkit.errors import InputError
from pnpkit.training.config import TrainingConfig


class Batches:
    """Random crops, flips and transposes of pictures, held in memory as bytes, with Gaussian noise."""

    def __init__(self, pictures: list[np.ndarray], config: TrainingConfig, generator: torch.Generator):
        small = [p.shape for p in pictures if min(p.shape[:2]) < config.patch]
        if small or not pictures:
            raise InputError(f"training needs pictures of at least {config.patch} pixels a side, got {small or 'none'}")
        self.pictures = [torch.from_numpy(np.ascontiguousarray(p)).permute(2, 0, 1) for p in pictures]
        self.config, self.generator = config, generator

    def integer(self, high: int) -> int:
        return int(torch.randint(high, (), generator=self.generator))

    def crop(self) -> Tensor:
        picture, size = self.pictures[self.integer(len(self.pictures))], self.config.patch
        top = self.integer(picture.shape[1] - size + 1)
        left = self.integer(picture.shape[2] - size + 1)
        patch = picture[:, top : top + size, left : left + size]
        if self.integer(2):
            patch = patch.transpose(1, 2)
        return patch.flip([axis for axis in (1, 2) if self.integer(2)])

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield batches (clean, noisy, levels) without end."""
        while True:
            clean = torch.stack([self.crop() for _ in range(self.config.batch)]).float() / 255
            level = torch.rand(self.config.batch, generator=self.generator) ** self.config.level_skew * self.config.top
            noise = torch.randn(clean.shape, generator=self.generator)
            yield clean, clean + level[:, None, None, None] * noise, level
