"""The guarantee of a run: the theorem that covers it, why a fixed point exists, and what is assumed."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pnpkit.certificates import Certificate, Premise, together


@dataclass(frozen=True)
class Theorem:
    """A theorem that covers a run: its name or source, and its hypotheses as they were checked.

    ``claim`` is what the theorem says about the run, if it says something other than convergence to a fixed point.
    """

    name: str
    hypothesis: str
    claim: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.hypothesis}"


class Existence(enum.Enum):
    """Why a fixed point exists. The value says what a run does if a theorem covers it."""

    UNIQUE = "converges to the unique fixed point from any start"  # a contraction: Banach 1922
    BOUNDED = "converges to a fixed point from any start"  # a bounded range: Browder 1965
    ASSUMED = "converges to a fixed point if there is one"

    @property
    def reason(self) -> str:
        """The reason in words. It is empty if the theorem states it already."""
        return {
            Existence.UNIQUE: "",
            Existence.BOUNDED: "fixed points exist: bounded range, Browder 1965",
            Existence.ASSUMED: "the existence is assumed, not checked",
        }[self]


class Lack(enum.Enum):
    """Why nothing is guaranteed."""

    CLAIM = "nothing is proven about the map"
    THEOREM = "no theorem covers this iteration of such a map"
    CONTRADICTED = "the run contradicts the certificate"
    OVERFLOW = "the run left the numbers that its theorem speaks of"


@dataclass(frozen=True)
class Before:
    """A stage that came before the one that the theorem covers; see ``stages.Stage``.

    Attributes:
        steps: number of evaluations up to the end of this stage.
        role: the purpose of these steps.
        note: a remark on the steps after this stage.
    """

    steps: int
    role: str
    note: str = ""


@dataclass(frozen=True)
class Guarantee:
    """The guarantee of a run. It is true if a theorem covers the run, and it prints as one sentence.

    Attributes:
        theorem: the theorem with its hypotheses, all checked; None if nothing is guaranteed.
        existence: why there is a fixed point; None if there is no theorem, if nothing was iterated, or if the theorem
            makes a claim of its own.
        premises: what the proof about T assumes and what was not checked.
        lack: why nothing is guaranteed, as a value.
        reason: why nothing is guaranteed, in words.
        before: the stages that the theorem does not cover, in order.
    """

    theorem: Theorem | None
    existence: Existence | None = None
    premises: tuple[Premise, ...] = ()
    lack: Lack | None = None
    reason: str = ""
    before: tuple[Before, ...] = ()

    def __bool__(self) -> bool:
        return self.theorem is not None

    @property
    def start(self) -> int:
        """The first step that the guarantee covers, counted from 1."""
        return self.before[-1].steps + 1 if self.before else 1

    def __str__(self) -> str:
        text = self._claim()
        for stage in reversed(self.before):
            text = f"from step {stage.steps + 1} on{stage.note}: {text}; {stage.role}"
        return text

    def _claim(self) -> str:
        if self.theorem is None:
            return f"nothing is guaranteed: {self.reason}"
        if self.existence is None and not self.theorem.claim:
            return f"{self.theorem.name} ({self.theorem.hypothesis})"
        given = "under the premises that the certificate names" if self.premises else ""
        reason = "" if self.existence is None else self.existence.reason
        details = "; ".join(part for part in (str(self.theorem), reason, given) if part)
        return f"{self.theorem.claim if self.existence is None else self.existence.value} ({details})"

    def to_json(self) -> dict[str, Any]:
        """Return plain values for ``json.dumps``; ``text`` is the sentence."""
        theorem = None if self.theorem is None else {"name": self.theorem.name, "hypothesis": self.theorem.hypothesis}
        if theorem is not None and self.theorem is not None and self.theorem.claim:
            theorem["claim"] = self.theorem.claim
        return {
            "theorem": theorem,
            "existence": None if self.existence is None else self.existence.name.lower(),
            "premises": [{"kind": premise.kind, "detail": premise.detail} for premise in self.premises],
            "lack": None if self.lack is None else self.lack.name.lower(),
            "start": self.start,
            "text": str(self),
        }


def withdrawn(lack: Lack, reason: str = "") -> Guarantee:
    """Return a guarantee of nothing, with the reason why."""
    return Guarantee(None, lack=lack, reason=reason or lack.value)


def covered(certificate: Certificate, theorem: Theorem) -> Guarantee:
    """Return the guarantee of a run under a theorem whose hypotheses the certificate proves."""
    if theorem.claim:
        return Guarantee(theorem, None, certificate.all_premises())
    existence = Existence.BOUNDED if certificate.bounded else Existence.ASSUMED
    if certificate.contractive:
        existence = Existence.UNIQUE
    return Guarantee(theorem, existence, certificate.all_premises())


def uncovered(certificate: Certificate, iteration: object) -> Guarantee:
    """Return a guarantee of nothing and name the cause.

    Either nothing is proven about the map, or no theorem covers this iteration of such a map.
    """
    if not certificate.proven:
        return withdrawn(Lack.CLAIM, certificate.method)
    alpha = "" if certificate.averagedness is None else f", {certificate.averagedness:.6g}-averaged"
    kind = f"{certificate.lipschitz:.6g}-Lipschitz{alpha} map"
    return withdrawn(Lack.THEOREM, f"no theorem covers {iteration} of a {kind}")


def assumed(certificate: Certificate) -> list[str]:
    """Return the unchecked assumptions as texts. They include the existence of a fixed point if that is not proven."""
    existence: Sequence[str] = ()
    if certificate.averaged and not (certificate.bounded or certificate.contractive):
        existence = ("T has a fixed point",)
    return [*together(certificate.all_premises()), *existence]
