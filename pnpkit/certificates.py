r"""Certificates: what is proven about a map, and the rules that derive the proof of a composition from its parts.

T is nonexpansive when ||Tx - Ty|| <= ||x - y||, and alpha-averaged, alpha in (0, 1), when
T = (1 - alpha) id + alpha F with F nonexpansive; alpha = 1/2 is firm nonexpansiveness.

- composition (Combettes & Yamada 2015, Prop. 2.4): alpha = (a1 + a2 - 2 a1 a2) / (1 - a1 a2)
- relaxation (1 - lam) id + lam T, lam in (0, 1/alpha): lam * alpha
- scaling T(s x) / s, s > 0, and S T S^-1 with S x = a x + (1 - a) b, a > 0: alpha unchanged
- a contraction with factor c < 1 is (1 + c) / 2-averaged
"""

from __future__ import annotations

import enum
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pnpkit.errors import InputError

EXACT = "exact arithmetic: float rounding of the evaluation is not covered"


class Side(enum.Enum):
    """Whether a number bounds the true constant from above or from below."""

    PROVEN = "proven"  # an upper bound, by a proof
    MEASURED = "measured"  # a lower bound or none: it proves nothing


class Kind(enum.Enum):
    """The type of a map. Some theorems need it in addition to the constants."""

    MAP = "map"
    PROX = "prox"  # the proximal map of a convex function, projections included
    GRADIENT_STEP = "gradient step"  # id - tau grad f, f convex
    COMPOSITION = "composition"  # parts[0] after parts[1] after ...


@dataclass(frozen=True)
class Premise:
    """An assumption of a proof that is not checked.

    ``kind`` is shared by similar assumptions; ``detail`` says what this one assumes. A premise prints as
    "kind: detail". ``together`` merges premises that differ only in numbers into one text.

    Example:
        >>> import pnpkit as pk
        >>> str(pk.Premise("the guide is given", "its thresholds stay"))
        'the guide is given: its thresholds stay'
    """

    kind: str
    detail: str = ""

    @classmethod
    def read(cls, text: str) -> Premise:
        """Parse the text of a premise, the inverse of ``str``. The kind ends at the first ": "."""
        kind, _, detail = text.partition(": ")
        return cls(kind, detail)

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.]*\w)")


def together(premises: Sequence[Premise]) -> list[str]:
    """Return the premises as texts, with similar ones merged.

    Premises that differ only in numbers become one text. In it, such a number is given as the range from its smallest
    to its largest value, for instance "1e-06 to 3e-05".
    """
    alike: dict[str, list[str]] = {}
    for text in map(str, premises):
        alike.setdefault(NUMBER.sub("#", text), []).append(text)
    return [_merged(texts) for texts in alike.values()]


def _merged(texts: list[str]) -> str:
    """Merge several texts that differ only in numbers into one."""
    values = zip(*(NUMBER.findall(text) for text in texts), strict=True)
    ranges = []
    for seen in values:
        low, high = min(seen, key=float), max(seen, key=float)
        ranges.append(low if float(low) == float(high) else f"{low} to {high}")
    found = iter(ranges)
    return NUMBER.sub(lambda _: next(found), texts[0])


@dataclass(frozen=True)
class Bound:
    """A bound on a quantity from above (PROVEN) or from below (MEASURED), and how it is known.

    Attributes:
        value: the bound; at least 0, and inf is allowed.
        side: PROVEN is an upper bound by a proof; MEASURED is a lower bound, which proves nothing.
        method: how the bound is known, in one line.
        premises: what is assumed and not checked.

    Raises:
        InputError: the value is negative or NaN, or ``side`` is not a ``Side``.

    Example:
        >>> import pnpkit as pk
        >>> str(pk.Bound(2.0, pk.Side.PROVEN, "by counting"))
        '<= 2 (by counting)'
        >>> bool(pk.Bound(2.0, pk.Side.MEASURED, "power iteration"))
        False
    """

    value: float
    side: Side
    method: str
    premises: tuple[Premise, ...] = ()

    def __post_init__(self) -> None:
        if math.isnan(self.value) or self.value < 0:
            raise InputError(f"a bound is at least 0, got {self.value}")
        if not isinstance(self.side, Side):
            raise InputError(f"a side is Side.PROVEN or Side.MEASURED, got {self.side!r}")

    def __bool__(self) -> bool:
        """Whether this is a proven and finite upper bound."""
        return self.side is Side.PROVEN and math.isfinite(self.value)

    def __str__(self) -> str:
        return f"{'<=' if self.side is Side.PROVEN else '>='} {self.value:.6g} ({self.method})"


@dataclass(frozen=True)
class Certificate:
    """The certificate of one map: what is known about its constants, and how.

    Attributes:
        name: the map, in words or symbols.
        lipschitz: bound on ||Tx - Ty|| / ||x - y||; inf if none is known.
        averagedness: alpha in (0, 1); None if none is known.
        side: PROVEN means that the constants are upper bounds; MEASURED proves nothing.
        method: how the constants are known, in one line.
        premises: what is assumed and not checked, as texts "kind: detail". ``all_premises`` returns them as values.
        parts: the certificates that this one is composed of.
        bounded: whether the range of T lies in a bounded closed convex set. Then a nonexpansive T has a fixed point
            (Browder 1965).
        kind: the type of the map; see ``Kind``.

    Example:
        >>> import pnpkit as pk
        >>> half = pk.Certificate("T", 1.0, 0.5, pk.Side.PROVEN, "a projection")
        >>> half.averaged, half.contractive
        (True, False)
    """

    name: str
    lipschitz: float
    averagedness: float | None
    side: Side
    method: str
    premises: tuple[str, ...] = ()
    parts: tuple[Certificate, ...] = field(default=(), repr=False)
    bounded: bool = False
    kind: Kind = Kind.MAP

    def __post_init__(self) -> None:
        if math.isnan(self.lipschitz) or self.lipschitz < 0:
            raise InputError(f"a Lipschitz constant is at least 0, got {self.lipschitz}")
        if not isinstance(self.side, Side):
            raise InputError(f"a side is Side.PROVEN or Side.MEASURED, got {self.side!r}")
        if self.averagedness is not None and not 0 < self.averagedness < 1:
            raise InputError(f"an averagedness lies in (0, 1), got {self.averagedness}")
        if self.averagedness is not None and self.lipschitz > 1:
            raise InputError("an averaged map is 1-Lipschitz")

    @property
    def nonexpansive(self) -> bool:
        """Whether the map is proven to be 1-Lipschitz."""
        return self.side is Side.PROVEN and self.lipschitz <= 1

    @property
    def averaged(self) -> bool:
        """Whether the map is proven to be averaged. Picard's iteration needs this."""
        return self.side is Side.PROVEN and self.averagedness is not None

    @property
    def contractive(self) -> bool:
        """Whether the map is proven to be a contraction with a factor of at most 1 - 1e-6.

        The margin 1e-6 is more than float32 rounding. Such a map has a unique fixed point, without further assumptions.
        """
        return self.side is Side.PROVEN and self.lipschitz <= 1 - 1e-6

    @property
    def proven(self) -> bool:
        """Whether a finite Lipschitz constant is proven."""
        return self.side is Side.PROVEN and math.isfinite(self.lipschitz)

    @property
    def claim(self) -> str:
        """What is known in one line, for instance "proven, Lipschitz constant <= 1, 0.9-averaged"."""
        if not math.isfinite(self.lipschitz):
            return "nothing is guaranteed"
        sign = "<=" if self.side is Side.PROVEN else ">="
        alpha = "" if self.averagedness is None else f", {self.averagedness:.6g}-averaged"
        if self.averagedness == sys.float_info.min:
            alpha = ", averaged with any constant"
        return f"{self.side.value}, Lipschitz constant {sign} {self.lipschitz:.6g}{alpha}"

    def all_premises(self) -> tuple[Premise, ...]:
        """Return the premises of this certificate and of all its parts, without repetitions."""
        seen = dict.fromkeys(map(Premise.read, self.premises))
        for part in self.parts:
            seen.update(dict.fromkeys(part.all_premises()))
        return tuple(seen)

    def __str__(self) -> str:
        return self.describe()

    def describe(self, depth: int = 100) -> str:
        """Return the derivation as text: one line per map, down to ``depth`` levels of parts, then the premises."""
        lines = self._lines(0, depth)
        premises = self.all_premises()
        if premises:
            lines.append("assumed, not checked: " + "; ".join(together(premises)))
        return "\n".join(lines)

    def _lines(self, indent: int, depth: int) -> list[str]:
        lines = ["  " * indent + f"{self.name}: {self.claim} [{self.method}]"]
        for part in self.parts if depth > 0 else ():
            lines += part._lines(indent + 1, depth - 1)
        return lines

    def to_json(self) -> dict[str, Any]:
        """Return plain values for ``json.dumps``. An unknown Lipschitz constant becomes null."""
        return {
            "name": self.name,
            "lipschitz": self.lipschitz if math.isfinite(self.lipschitz) else None,
            "averagedness": self.averagedness,
            "side": self.side.value,
            "method": self.method,
            "premises": list(self.premises),
            "bounded": self.bounded,
            "kind": self.kind.value,
            "parts": [part.to_json() for part in self.parts],
            "text": str(self),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Certificate:
        """Build the certificate from the values that ``to_json`` returned."""
        lipschitz = data["lipschitz"]
        return cls(
            name=data["name"],
            lipschitz=math.inf if lipschitz is None else float(lipschitz),
            averagedness=data["averagedness"],
            side=Side(data["side"]),
            method=data["method"],
            premises=tuple(data["premises"]),
            parts=tuple(cls.from_json(part) for part in data["parts"]),
            bounded=data["bounded"],
            kind=Kind(data["kind"]),
        )


def nothing(name: str, reason: str, parts: Sequence[Certificate] = ()) -> Certificate:
    """Return a certificate that claims nothing, with the reason why.

    Example:
        >>> import pnpkit as pk
        >>> pk.nothing("D", "trained without a bound").proven
        False
    """
    return Certificate(name, math.inf, None, Side.MEASURED, reason, parts=tuple(parts))


def identity(name: str = "id") -> Certificate:
    """The certificate of x -> x. It is alpha-averaged for every alpha > 0, so alpha is the smallest normal float."""
    return Certificate(name, 1.0, sys.float_info.min, Side.PROVEN, "the identity is averaged for every alpha > 0")


def averagedness_of_composition(alphas: Sequence[float]) -> float:
    """alpha = s / (1 + s) with s = sum_i a_i / (1 - a_i): the averagedness of a composition of any number of maps."""
    total = sum(alpha / (1 - alpha) for alpha in alphas)
    return total / (1 + total)


def compose(parts: Sequence[Certificate], name: str) -> Certificate:
    """The certificate of the composition parts[0] after parts[1] after ...

    The result is PROVEN only if every part is. A part that is itself a composition is replaced by its own parts: the
    formula is associative, and one level is easier to read.

    Example:
        >>> from pnpkit import proximal
        >>> two = (proximal.box(0, 1).certificate, proximal.tikhonov(0.0).certificate)
        >>> round(compose(two, "both").averagedness, 6)
        0.666667
    """
    parts = tuple(
        piece
        for part in parts
        for piece in (part.parts if part.kind is Kind.COMPOSITION and not part.premises else (part,))
    )
    unproven = ", ".join(dict.fromkeys(part.name for part in parts if part.side is not Side.PROVEN))
    if unproven:
        return replace(nothing(name, f"nothing is proven about {unproven}", parts), kind=Kind.COMPOSITION)
    lipschitz = math.prod(part.lipschitz for part in parts)
    alphas = [part.averagedness for part in parts if part.averagedness is not None]
    alpha, method = None, "product of Lipschitz constants"
    if len(alphas) == len(parts):
        alpha = averagedness_of_composition(alphas)
        method = "composition, Combettes & Yamada 2015, Prop. 2.4"
    elif lipschitz < 1:
        alpha, method = (1 + lipschitz) / 2, method + "; a contraction is (1 + c)/2-averaged"
    if alpha is not None and alpha >= 1:  # alpha rounds to 1: no claim
        alpha = None
    return Certificate(
        name, lipschitz, alpha, Side.PROVEN, method, parts=parts, bounded=parts[0].bounded, kind=Kind.COMPOSITION
    )


def relax(certificate: Certificate, relaxation: float, name: str) -> Certificate:
    """The certificate of (1 - lam) id + lam T, lam > 0.

    Example:
        >>> from pnpkit import proximal
        >>> relax(proximal.box(0, 1).certificate, 1.5, "relaxed").averagedness
        0.75
    """
    lam = float(relaxation)
    if not 0 < lam < math.inf:
        raise InputError(f"a relaxation is a finite number > 0, got {relaxation}")
    if certificate.side is not Side.PROVEN:
        return nothing(name, f"nothing is proven about {certificate.name}", (certificate,))
    known = certificate.averagedness
    if known is None and certificate.lipschitz <= 1:
        known = 1.0  # nonexpansive is the limit case of averaged
    if known is not None and lam * known < 1:
        lipschitz = min(1.0, abs(1 - lam) + lam * certificate.lipschitz)
        method = f"relaxation by {lam:.6g} < 1/{known:.6g}"
        alpha = max(lam * known, sys.float_info.min)
        return Certificate(name, lipschitz, alpha, Side.PROVEN, method, parts=(certificate,))
    lipschitz = abs(1 - lam) + lam * certificate.lipschitz
    return Certificate(
        name, lipschitz, None, Side.PROVEN, f"triangle inequality, lam = {lam:.6g}", parts=(certificate,)
    )


def mean(parts: Sequence[Certificate], name: str) -> Certificate:
    """The certificate of (T_1 + ... + T_n) / n. Its constants are the means of the constants of the T_i.

    Combettes & Yamada 2015, Prop. 2.2.
    """
    unproven = ", ".join(dict.fromkeys(part.name for part in parts if part.side is not Side.PROVEN))
    if unproven:
        return nothing(name, f"nothing is proven about {unproven}", parts)
    lipschitz = sum(part.lipschitz for part in parts) / len(parts)
    alphas = [part.averagedness for part in parts if part.averagedness is not None]
    alpha = sum(alphas) / len(parts) if len(alphas) == len(parts) else None
    method = f"mean of {len(parts)} maps: means of their constants, Combettes & Yamada 2015, Prop. 2.2"
    return Certificate(name, lipschitz, alpha, Side.PROVEN, method, parts=tuple(parts))


def blocks(certificate: Certificate, name: str) -> Certificate:
    """The certificate of a map that acts on each slice, or channel, by itself.

    Such a map is block diagonal, so it has the constants of its block.
    """
    method = "acts on each part by itself: the constants of one"
    return replace(certificate, name=name, method=method, premises=(), parts=(certificate,), kind=Kind.MAP)


def mix(certificate: Certificate, amount: float, name: str) -> Certificate:
    """The certificate of S T S^-1, where S x = a x + (1 - a) b with a fixed b. It has the same constants as T.

    S multiplies every distance by a, so the constants stay. The fixed points are a x* + (1 - a) b, where x* are those
    of T. For a = 0 the map sends everything to b: it is the projection onto a point.

    Example:
        >>> from pnpkit import proximal
        >>> mix(proximal.box(0, 1).certificate, 0.25, "a quarter of it").averagedness
        0.5
    """
    if not 0 <= amount <= 1:
        raise InputError(f"an amount is a number in [0, 1], got {amount}")
    if amount == 0:
        return Certificate(name, 0.0, 0.5, Side.PROVEN, "the projection onto a point", bounded=True, kind=Kind.PROX)
    method = f"S T S^-1, S x = {amount:.6g} x + {1 - amount:.6g} b: a similarity keeps every constant"
    return replace(certificate, name=name, method=method, premises=(), parts=(certificate,), kind=Kind.MAP)


def scale(certificate: Certificate, factor: float, name: str) -> Certificate:
    """The certificate of T(s x) / s, which has the same constants as T (Xu et al., IEEE SPL 27, 2020).

    Example:
        >>> from pnpkit import proximal
        >>> scale(proximal.tikhonov(0.0).certificate, 2.0, "scaled").averagedness
        0.5
    """
    if not 0 < factor < math.inf:
        raise InputError(f"a scaling is a finite number > 0, got {factor}")
    method = f"scaling by {factor:.6g} keeps every constant"
    return replace(certificate, name=name, method=method, premises=(), parts=(certificate,), kind=Kind.MAP)
