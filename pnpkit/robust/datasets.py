"""Readers of MNIST, Fashion-MNIST and CIFAR-10 from local files, and a synthetic set. Nothing is downloaded."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pnpkit.errors import InputError


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W), uint8, and labels (N,), int64."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != torch.uint8 or len(self.images) != len(self.labels):
            raise InputError(f"expected bytes (N, C, H, W) with N labels, got {tuple(self.images.shape)}")

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self) -> Tensor:
        """The images as float32 in 0..1, the units of every radius."""
        return self.images.float() / 255

    def part(self, start: int, stop: int) -> Split:
        """Return samples start..stop-1."""
        return Split(self.images[start:stop], self.labels[start:stop])


Splits = tuple[Split, Split]  # train, test


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    if images.ndim == 3:
        images = images[..., None]
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return Split(torch.from_numpy(channels_first), torch.from_numpy(labels.astype(np.int64)))


def mnist(path: Path) -> Splits:
    """Read MNIST from ``path``: mnist.npz with x_train, y_train, x_test, y_test (LeCun et al. 1998)."""
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        train, test = (_split(file[f"x_{part}"], file[f"y_{part}"]) for part in ("train", "test"))
    return train, test


def fashion(path: Path) -> Splits:
    """Read Fashion-MNIST from ``path``: a folder with the four gzipped idx files (Xiao et al. 2017)."""
    train, test = (
        _split(read_idx(path / f"{part}-images-idx3-ubyte.gz"), read_idx(path / f"{part}-labels-idx1-ubyte.gz"))
        for part in ("train", "t10k")
    )
    return train, test


def read_idx(path: Path) -> np.ndarray:
    """Read an array of bytes in LeCun's idx format: two zeros, 8 (bytes), the rank, the sizes (big endian), data."""
    data = gzip.decompress(path.read_bytes())
    if data[:3] != b"\0\0\x08":
        raise InputError(f"{path} is not an idx file of bytes")
    rank = data[3]
    shape = tuple(np.frombuffer(data, ">i4", rank, 4))
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape).copy()


def cifar10(path: Path) -> Splits:
    """Read CIFAR-10 from ``path``: cifar10.npz (Krizhevsky 2009).

    Each split S has lossless mosaics ``webp_S`` with lengths ``len_S``, and labels ``y_S``. A mosaic has 100 columns of
    32 x 32 tiles, row by row, cut off at the number of labels.
    """
    from PIL import Image

    splits = []
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        for part in ("train", "test"):
            data, tiles, start = file[f"webp_{part}"].tobytes(), [], 0
            for length in file[f"len_{part}"]:
                mosaic = np.asarray(Image.open(io.BytesIO(data[start : start + int(length)])).convert("RGB"))
                start += int(length)
                rows = mosaic.shape[0] // 32
                tiles.append(mosaic.reshape(rows, 32, 100, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3))
            labels = file[f"y_{part}"]
            splits.append(_split(np.concatenate(tiles)[: len(labels)], labels))
    return splits[0], splits[1]


def synthetic(count: int = 600, shape: tuple[int, int, int] = (1, 8, 8), classes: int = 4, seed: int = 0) -> Splits:
    """Make noisy copies of one random pattern per class, for tests and quick runs. Half of ``count`` is for testing."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randint(0, 2, (classes, *shape), generator=generator) * 120 + 60
    labels = torch.randint(0, classes, (count,), generator=generator)
    noise = 50 * torch.randn(count, *shape, generator=generator)
    whole = Split((patterns[labels] + noise).clamp(0, 255).to(torch.uint8), labels)
    return whole.part(0, count // 2), whole.part(count // 2, count)


@dataclass(frozen=True)
class Dataset:
    """A data set: its reader, its usual place, the names of its classes, and its reference."""

    read: Callable[[Path], Splits]
    file: str
    classes: tuple[str, ...]
    paper: str


DATASETS: dict[str, Dataset] = {
    "mnist": Dataset(mnist, "mnist.npz", tuple("0123456789"), "LeCun, Bottou, Bengio, Haffner, Proc. IEEE 86, 1998"),
    "fashion-mnist": Dataset(
        fashion,
        "fashion-mnist",
        ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"),
        "Xiao, Rasul, Vollgraf, arXiv:1708.07747",
    ),
    "cifar10": Dataset(
        cifar10,
        "cifar10.npz",
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        "Krizhevsky, Learning multiple layers of features from tiny images, 2009",
    ),
}


def load(name: str, path: Path) -> Splits:
    """Load the training and the test set of ``name``.

    Args:
        path: the file or folder of the set itself, or a folder that holds it under its usual name.

    Raises:
        InputError: the name is unknown, or the set cannot be read from there.
    """
    if name not in DATASETS:
        raise InputError(f"unknown data set '{name}': available: {', '.join(DATASETS)}")
    dataset = DATASETS[name]
    inside = path / dataset.file
    try:
        return dataset.read(inside if inside.exists() else path)
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"cannot read {name} from {path}: {error}; see data/{name}/README.md") from error
