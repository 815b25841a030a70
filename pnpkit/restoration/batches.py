"""A batch of pictures: each is restored by itself, with its own noise level, kernel, scale and strength."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import ParamSpec

import torch
from torch import Tensor

from pnpkit.restoration.result import Restoration, worst_of

P = ParamSpec("P")


def one_by_one(task: Callable[P, Restoration]) -> Callable[P, Restoration]:
    """The task, for tensors (B, C, H, W) of several pictures too: it restores each as if it had come alone."""

    @wraps(task)
    def restored(*args: P.args, **keywords: P.kwargs) -> Restoration:
        image = args[0] if args else keywords.get("image")
        if not (isinstance(image, Tensor) and image.ndim == 4 and len(image) > 1):
            return task(*args, **keywords)
        own: list[dict[str, object]] = [dict(keywords) for _ in image]
        for name in ("guide", "weights"):  # one for each picture, where there are as many
            given = keywords.get(name)
            if isinstance(given, Tensor) and given.ndim == 4 and len(given) == len(image):
                own = [more | {name: part} for more, part in zip(own, given.split(1), strict=True)]
        return together([_alone(task, part, args, more) for part, more in zip(image.split(1), own, strict=True)])

    return restored


def _alone(
    task: Callable[..., Restoration], part: Tensor, args: tuple[object, ...], keywords: dict[str, object]
) -> Restoration:
    return task(part, *args[1:], **keywords) if args else task(**{**keywords, "image": part})


def together(runs: list[Restoration]) -> Restoration:
    """One result for a batch: all images, and everything else of the picture that fared worst (``result.worst_of``).

    ``each`` holds the results one by one.
    """
    worst = worst_of(runs)
    image = torch.cat([torch.as_tensor(run.image) for run in runs])
    seconds = sum(run.seconds for run in runs)
    return replace(worst, image=image, seconds=seconds, each=tuple(runs))
