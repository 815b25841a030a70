"""Bytes and JSON with something wrong in them."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

from fuzzing.cases import Case

INTEGERS = (0, 1, 2, 3, 7, 8, 16, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
NUMBERS = (0, 1, -1, 2, 3, 64, 65536, 2**31, 2**63, -(2**63), 1e308, -1e308, 1e-320, 0.5, 0.9999, 1.0000001)
TEXTS = ("", " ", "\0", "a\nb", "..", "/", "é", "\ud83d\ude00", "x" * 300, "NaN", "1", "true", "\x1b[31m", "{}")


def bits(case: Case, data: bytes) -> bytes:
    """A few bits turned over."""
    out = bytearray(data)
    for _ in range(case.random.choice((1, 1, 2, 8)) if out else 0):
        out[case.random.randrange(len(out))] ^= 1 << case.random.randrange(8)
    return bytes(out)


def truncated(case: Case, data: bytes) -> bytes:
    """The beginning, or all but the end."""
    cut = case.random.randrange(len(data) + 1)
    return data[:cut] if case.chance(0.5) else data[: len(data) - min(cut, 12)]


def spliced(case: Case, data: bytes) -> bytes:
    """A part left out, doubled, moved or filled."""
    first, last = sorted(case.random.randrange(len(data) + 1) for _ in range(2))
    part = data[first:last]
    what = case.random.randrange(4)
    if what == 0:
        return data[:first] + data[last:]
    if what == 1:
        return data[:last] + part + data[last:]
    if what == 2:
        return data[:first] + data[last:] + part
    return data[:first] + bytes([case.random.choice((0, 255, 127, 128))]) * len(part) + data[last:]


def integers(case: Case, data: bytes) -> bytes:
    """Whole numbers of two or four bytes put where a header may have some."""
    out = bytearray(data)
    for _ in range(case.random.choice((1, 1, 2, 4))):
        form = case.random.choice(("<H", ">H", "<I", ">I"))
        size = struct.calcsize(form)
        if len(out) < size:
            break
        reach = min(len(out), case.random.choice((32, 64, 256, 1 << 20)))
        at = case.random.randrange(max(1, reach - size + 1))
        struct.pack_into(form, out, min(at, len(out) - size), case.random.choice(INTEGERS) % 256**size)
    return bytes(out)


def chunks(case: Case, data: bytes) -> bytes:
    """A PNG with its chunks changed and their check sums right; other files as ``integers`` has them."""
    if data[:4] != b"\x89PNG":
        return integers(case, data)
    found, at = [], 8
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    if not found:
        return integers(case, data)
    what = case.random.randrange(5)
    index = case.random.randrange(len(found))
    name, content = found[index]
    if what == 0:
        found[index] = (name, case.random.choice((bits, truncated, spliced, integers))(case, content))
    elif what == 1:
        found.insert(case.random.randrange(len(found) + 1), found[index])
    elif what == 2:
        del found[index]
    elif what == 3:
        names = (b"tRNS", b"PLTE", b"iCCP", b"eXIf", b"pHYs", b"acTL", b"zTXt", b"iTXt", b"gAMA", b"sBIT", b"cHRM")
        extra = case.numbers.integers(0, 256, case.random.choice((0, 1, 2, 6, 9, 40)), dtype="uint8").tobytes()
        found.insert(1, (case.random.choice(names), extra))
    else:
        raw = zlib.compress(b"\0" * case.random.choice((0, 1, 100, 100_000)))
        found[index] = (b"IDAT", raw)
    packed = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in found
    ]
    return data[:8] + b"".join(packed)


def tags(case: Case, data: bytes) -> bytes:
    """A TIFF with an entry of its first directory changed; other files as ``chunks`` has them."""
    if data[:4] not in (b"II*\0", b"MM\0*") or len(data) < 8:
        return chunks(case, data)
    order = "<" if data[:2] == b"II" else ">"
    out = bytearray(data)
    (at,) = struct.unpack_from(order + "I", out, 4)
    if at + 2 > len(out):
        return integers(case, data)
    (count,) = struct.unpack_from(order + "H", out, at)
    for _ in range(case.random.choice((1, 1, 2))):
        entry = at + 2 + 12 * case.random.randrange(max(1, count))
        if entry + 12 > len(out):
            break
        what = case.random.randrange(4)
        if what == 0:
            code = case.random.choice((34675, 270, 274, 282, 320, 338, 339, 700, 34665, 33432, 284, 317, 322, 332))
            struct.pack_into(order + "H", out, entry, code)
        elif what == 1:
            struct.pack_into(order + "H", out, entry + 2, case.random.randrange(20))
        elif what == 2:
            struct.pack_into(order + "I", out, entry + 4, case.random.choice(INTEGERS))
        else:
            struct.pack_into(order + "I", out, entry + 8, case.random.choice(INTEGERS))
    return bytes(out)


BYTES: dict[Callable[[Case, bytes], bytes], float] = {bits: 3, truncated: 2, spliced: 1, integers: 3, tags: 4}


def mutated(case: Case, data: bytes) -> bytes:
    """Data with one thing wrong, now and then two."""
    for _ in range(1 if case.chance(0.8) else 2):
        change = case.weighted(BYTES)
        data = change(case, data)
        case.note(change.__name__)
    return data


def value(case: Case) -> Any:
    """Anything that JSON holds."""
    what = case.random.randrange(8)
    if what < 3:
        return case.random.choice(NUMBERS)
    if what < 5:
        return case.random.choice(TEXTS)
    if what == 5:
        return case.random.choice((None, True, False, float("nan"), float("inf"), -float("inf")))
    return case.random.choice(([], {}, [1, 2], [None] * 3, {"a": 1}, [[]], "0.5", ["x"]))


def changed(case: Case, data: Any) -> Any:
    """A JSON value with one node changed, left out, renamed or wrapped."""
    spots: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            spots.append((node, key))
            walk(node[key])

    walk(data)
    if not spots or case.chance(0.02):
        return value(case)
    node, key = case.random.choice(spots)
    what = case.random.randrange(8)
    if what == 0:
        del node[key]
    elif what == 1 and isinstance(node, dict):
        node[case.random.choice((*TEXTS, "extra", key.upper()))] = node.pop(key)
    elif what == 2:
        node[key] = [node[key]]
    elif what == 3 and isinstance(node[key], (int, float)):
        node[key] = node[key] * case.random.choice((-1, 0, 2, 1000, 1e30, 0.5))
    elif what == 4 and isinstance(node[key], (int, float, bool)):
        node[key] = str(node[key])
    else:
        node[key] = value(case)
    case.note(f"at {key!r}: {json.dumps(node.get(key) if isinstance(node, dict) else node)[:120]}")
    return data


def broken_text(case: Case, text: str) -> bytes:
    """A JSON text that is no longer one, mostly."""
    data = text.encode()
    what = case.random.randrange(6)
    case.note(("bits", "truncated", "nested", "another encoding", "spliced", "digits")[what])
    if what == 0:
        return bits(case, data)
    if what == 1:
        return truncated(case, data)
    if what == 2:
        depth = case.random.choice((10, 5_000, 200_000))
        return (b'{"name": ' + b"[" * depth + b"]" * depth + b"}") if case.chance(0.5) else b"[" * depth
    if what == 3:
        return text.encode(case.random.choice(("utf-16", "utf-32", "utf-8-sig"))) + b"\xff" * case.random.randrange(2)
    if what == 4:
        return spliced(case, data)
    return text.replace("0", "9" * 5000, 1).encode()
