"""Functions for all cards: reading them, checking them before anything is allocated, and binding them to their weights.

A card is a JSON file beside ``weights.safetensors``. Anything wrong with either becomes a ``CardError``. The claim of a
card is accepted if a hash of weights, arguments and certificate is listed in ``CLAIMS``, a file outside of the card.
Otherwise the certificate is derived from the weights.
"""

from __future__ import annotations

import hashlib
import json
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pnpkit.certificates import Certificate
from pnpkit.errors import CardError, one_line
from pnpkit.machine.files import read_verified, write_whole

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

WEIGHTS, CARD, CLAIMS = "weights.safetensors", "card.json", "claims.json"


LARGEST_CARD = 2**20  # largest size of a card file, in bytes


LARGEST = 16_384  # largest integer argument; the memory it leads to is bounded by the weights


LONGEST = 256  # largest number of entries of a list among the arguments


DEEPEST = 16  # largest depth of the parts of a certificate


FACTOR, SLACK = 16, 2**18  # building may allocate FACTOR times the numbers in the weights, plus SLACK
PARTS, MORE = 4, 100  # building may allocate PARTS times the tensors in the weights, plus MORE


@contextmanager
def trouble_with(what: object) -> Iterator[None]:
    """Turn any failure inside the block into a CardError that names ``what``."""
    try:
        yield
    except CardError as error:
        raise CardError(f"{what}: {one_line(error)[:300]}") from error
    except Exception as error:  # a damaged file can lead to any error
        raise CardError(f"{what}: {type(error).__name__}, {one_line(error)[:300]}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read the JSON object in a file of at most ``LARGEST_CARD`` bytes."""
    with trouble_with(f"cannot read {path}"):
        with path.open("rb") as file:
            data = file.read(LARGEST_CARD + 1)
        if len(data) > LARGEST_CARD:
            raise CardError(f"a card has at most {LARGEST_CARD} bytes")
        found = json.loads(data.decode("utf-8"), parse_constant=_no_number)
        if not isinstance(found, dict):
            raise CardError(f"expected an object, got {type(found).__name__}")
        return found


def _no_number(name: str) -> float:
    raise CardError(f"{name} is no number of JSON")


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON file that ``read_json`` reads. The file is written whole or not at all."""
    write_whole(path, (json.dumps(data, indent=1) + "\n").encode())


def checked(data: Mapping[str, Any], schema: Mapping[str, type], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return ``data`` as a dict after checking that its fields and their types are those of the schema.

    Raises:
        CardError: a field is missing, unknown or of another type.
    """
    missing, unknown = sorted(set(schema) - set(data) - set(optional)), sorted(set(data) - set(schema))
    if missing or unknown:
        raise CardError(f"missing fields {missing}, unknown fields {unknown}")
    for name, value in data.items():
        if not isinstance(value, schema[name]):
            raise CardError(f"{name} is of type {schema[name].__name__}, got {value!r:.60}")
    return dict(data)


def number(value: Any, what: str, low: float, high: float) -> float:
    """Return ``value`` if it is a finite number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise CardError(f"{what} is a number in [{low:g}, {high:g}], got {value!r:.60}")
    return float(value)


def sha256(value: Any) -> str:
    """Return ``value`` if it is a hash of 64 hexadecimal digits, or empty, as before the weights are written."""
    if not isinstance(value, str) or (value and (len(value) != 64 or set(value) - set("0123456789abcdef"))):
        raise CardError(f"sha256 has 64 hexadecimal digits, got {value!r:.60}")
    return value


def certificate(data: Any, depth: int = 0) -> Certificate:
    """Read the certificate of a card and check the types and ranges of its fields, and of its parts."""
    if depth > DEEPEST or not isinstance(data, dict):
        raise CardError(f"a certificate is an object with parts of parts at most {DEEPEST} deep, got {data!r:.60}")
    schema = {"name": str, "side": str, "method": str, "premises": list, "bounded": bool, "kind": str, "parts": list}
    given = {key: value for key, value in data.items() if key not in ("lipschitz", "averagedness", "text")}
    checked(given, schema)
    if not all(isinstance(premise, str) for premise in given["premises"]):
        raise CardError("premises are sentences")
    for what, high in (("lipschitz", math.inf), ("averagedness", 1.0)):
        if data[what] is not None:
            number(data[what], what, 0.0, high)
    for part in given["parts"]:
        certificate(part, depth + 1)
    return Certificate.from_json(data)


def arguments(config: type[T], given: Any) -> T:
    """Build the config from these arguments.

    Each argument must have the type of its field. Integers lie in [0, LARGEST], and numbers are finite.

    Raises:
        CardError: a name is unknown, or a value is of another type or out of range.
    """
    if not isinstance(given, dict):
        raise CardError(f"arguments are an object, got {given!r:.60}")
    hints = typing.get_type_hints(config)
    names = {field.name for field in fields(config)}  # type: ignore[arg-type]
    unknown = sorted(set(given) - names)
    if unknown:
        raise CardError(f"unknown arguments {unknown}: known are {sorted(names)}")
    for name, value in given.items():
        if not is_of_type(value, hints[name]):
            raise CardError(f"argument {name} is of type {hints[name]} within range, got {value!r:.60}")
    return config(**{name: _tuples(value) for name, value in given.items()})


def is_of_type(value: Any, hint: Any) -> bool:
    """Whether a JSON value has this type and is within range. Lists stand for tuples."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(is_of_type(value, part) for part in parts)
    if origin is tuple or hint is tuple:
        if not isinstance(value, (list, tuple)) or len(value) > LONGEST:
            return False
        if not parts or parts[-1] is Ellipsis:
            return all(is_of_type(entry, parts[0] if parts else Any) for entry in value)
        return len(value) == len(parts) and all(map(is_of_type, value, parts))
    if hint is Any:
        return isinstance(value, (list, tuple)) or any(is_of_type(value, part) for part in (bool, int, float, str))
    if hint is bool or isinstance(value, bool):
        return hint is bool and isinstance(value, bool)
    if hint is float:
        return isinstance(value, (int, float)) and abs(value) <= 1e6
    if hint is int:
        return isinstance(value, int) and 0 <= value <= LARGEST
    return isinstance(value, hint)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(entry) for entry in value) if isinstance(value, list) else value


def weights(place: Path, expected: str) -> dict[str, Tensor]:
    """Read the tensors of a folder's weights file after checking its hash."""
    from safetensors.torch import load

    data = read_verified(place / WEIGHTS, expected)
    with trouble_with(place / WEIGHTS):
        return load(data)


def built(build: Callable[[], T], tensors: Mapping[str, Tensor]) -> T:
    """Return the result of ``build``, which may allocate only a few times the tensors and memory of these weights."""
    from pnpkit.machine.allowance import Allowance

    numbers = FACTOR * sum(tensor.numel() for tensor in tensors.values()) + SLACK
    with Allowance(numbers, PARTS * len(tensors) + MORE):
        return build()


def claim(sha256: str, arguments: Mapping[str, Any], certificate: Certificate) -> str:
    """Return the hash of a card's claim, made from the hash of the weights, the arguments and the certificate."""
    said = {"sha256": sha256, "arguments": dict(arguments), "certificate": certificate.to_json()}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def claims(folder: Path) -> dict[str, str]:
    """Return the claims that are listed for the folders in ``folder``, by name; empty if there is no list."""
    path = folder / CLAIMS
    if not path.is_file():
        return {}
    return {name: sha256(found) for name, found in read_json(path).items()}


def list_claim(place: Path, found: str) -> None:
    """Write the claim of the card in ``place`` into the list beside its folder."""
    write_json(place.parent / CLAIMS, dict(sorted((claims(place.parent) | {place.name: found}).items())))
