"""The iterates of a run as an animation, for ``--gif``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pnpkit.command.document import eight_bit_image
from pnpkit.images import srgb
from pnpkit.machine.files import replacing

if TYPE_CHECKING:
    from pnpkit.solvers.result import Step


FRAMES, FRAME = 60, 480  # most frames of a GIF, and their side in pixels


class Frames:
    """Collects the iterates of a run for a GIF: every step at first, then ever fewer."""

    def __init__(self, size: tuple[int, int], linear: bool = False):
        self.size, self.linear, self.every, self.frames = size, linear, 1, list[Image.Image]()

    def __call__(self, step: Step) -> None:
        if (step.number - 1) % self.every:
            return
        x = (srgb.encode(step.x) if self.linear else step.x)[0].detach().cpu().numpy()
        top, left = (max(0, (x.shape[axis + 1] - self.size[axis]) // 2) for axis in (0, 1))
        x = np.moveaxis(x[:, top : top + self.size[0], left : left + self.size[1]], 0, -1)
        self.frames.append(small(x[..., 0] if x.shape[-1] == 1 else x))
        if len(self.frames) == FRAMES:
            self.frames, self.every = self.frames[::2], 2 * self.every

    def save(self, path: Path, overwrite: bool = True) -> None:
        """Write the frames as a GIF; the last one stays for two seconds."""
        times = [100] * (len(self.frames) - 1) + [2000]
        with replacing(path, overwrite) as file:
            self.frames[0].save(file, "GIF", save_all=True, append_images=self.frames[1:], duration=times, loop=0)


def small(pixels: np.ndarray) -> Image.Image:
    """The picture, at most ``FRAME`` pixels wide and high."""
    image = eight_bit_image(pixels)
    image.thumbnail((FRAME, FRAME))
    return image
