"""A restoration in plain words: what was solved, why it can be trusted, what was assumed, how it ended."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from pnpkit.certificates import Certificate, Premise
from pnpkit.kernels import Kernel
from pnpkit.restoration.defaults import DOUBTFUL, POINTS_STAY
from pnpkit.restoration.plan import Plan
from pnpkit.solvers.guarantee import Existence, Guarantee, assumed
from pnpkit.solvers.result import Status


class Explained(Protocol):
    """The attributes of a ``Restoration`` that are explained. Its own module imports this one, so it is not named."""

    @property
    def plan(self) -> Plan | None: ...
    @property
    def status(self) -> Status: ...
    @property
    def certificate(self) -> Certificate: ...
    @property
    def guarantee(self) -> Guarantee: ...
    @property
    def steps(self) -> int: ...
    @property
    def guide_steps(self) -> int: ...
    @property
    def residuals(self) -> tuple[float, ...]: ...
    @property
    def strength(self) -> float: ...
    @property
    def noise_level(self) -> float: ...
    @property
    def linear(self) -> bool: ...
    @property
    def seconds(self) -> float: ...
    @property
    def kernel(self) -> np.ndarray | None: ...
    @property
    def kernel_note(self) -> str: ...
    @property
    def amount(self) -> float: ...
    @property
    def blur(self) -> Kernel | None: ...


ENDED = {
    Status.CONVERGED: "A further step changed next to nothing, so the run stopped: the picture has settled.",
    Status.APPLIED: "The denoiser was applied once; there was nothing to repeat.",
    Status.STEP_LIMIT: "The run stopped at the limit of steps, before the picture had settled; with more steps, or a "
    "larger tolerance, it would have.",
    Status.DIVERGED: "The changes grew from step to step, so the run was stopped; this is the picture before that.",
    Status.NOT_FINITE: "Invalid values (NaN or infinity) appeared, so the run was stopped; this is the last good one.",
    Status.FALSIFIED: "The run was stopped, because it contradicted what is proven about its steps. One of the proofs, "
    "or one of their assumptions, is wrong here. Do not rely on the result.",
}


STANDS = {  # what the existence of a fixed point means for the run
    Existence.UNIQUE: "so repeating them leads to one and the same picture, wherever one starts",
    Existence.BOUNDED: "so repeating them leads to a picture that they leave as it is, wherever one starts",
    Existence.ASSUMED: "so repeating them leads to a picture that they leave as it is, if there is one",
}


PLAIN = {  # the kinds of premises whose words in a proof are none for a layman
    "exact arithmetic": "the proof is about exact numbers: the rounding of the computer is not part of it",
    "the inner solver of prox f is exact": "the equations of every step towards the data are solved approximately; "
    "what is left of them tells how small the error is",
    "the inner solver of the ridge is exact": "the denoiser's own minimisation ends with a small error, which its "
    "slope tells",
}


def in_words(run: Explained) -> str:
    """The explanation, four paragraphs: problem, trust, assumptions, end."""
    return "\n\n".join(
        f"{title}. {text}"
        for title, text in (
            ("What was solved", solved(run)),
            ("Why it can be trusted", trust(run)),
            ("What was assumed", assumptions(run)),
            ("How it ended", end(run)),
        )
    )


def solved(run: Explained) -> str:
    """What was solved: the problem, and the two halves of a step."""
    level = f"noise of standard deviation {run.noise_level:.4g}{' in linear light' if run.linear else ''}"
    if run.plan is None:
        return (
            f"We take the input for a clean picture with {level}. A denoiser of strength {run.strength:.4g} removed it."
        ) + share(run.amount)
    if run.kernel is None:
        data = "explains what was measured"
    elif run.kernel.size == 1:
        data = "agrees with the input"
    else:
        rows, columns = run.kernel.shape[-2:]
        size = f"{columns} x {rows} pixels" + (f" and {len(run.kernel)} slices" if run.kernel.ndim == 3 else "")
        left = "what is left, beside the width of a point, of " if POINTS_STAY in run.kernel_note else ""
        data = f"becomes the input when it is blurred with {left}the kernel of {size}"
    text = (
        f"We look for a picture that {data}, up to {level}, and in which the denoiser, at strength {run.strength:.4g}, "
        "finds no more noise. Every step does both in turn: it pulls the picture towards the data, then it denoises. "
    )
    if run.guide_steps:
        text += (
            f"It was done twice: the picture after the first {run.guide_steps} steps told the denoiser of the second "
            "pass where edges and texture are. "
        )
    return text + (f"{capital(run.kernel_note)}." if run.kernel_note else "") + share(run.amount)


def share(amount: float) -> str:
    """A sentence on how much of the restoration the result holds; nothing where that is all."""
    if amount == 1:
        return ""
    if amount == 0:
        return " But amount is 0: the result is the input as it came."
    return (
        f" The result goes {100 * amount:.3g} % of the way from the input to that picture. This is as "
        "certain: mixing with a fixed picture brings two pictures closer together."
    )


def trust(run: Explained) -> str:
    """What the guarantee says, or why there is none."""
    held = run.guarantee
    if not held:
        return f"For this run nothing is guaranteed ({held.reason}). Look at the picture before you rely on it."
    assert held.theorem is not None
    if held.theorem.claim:
        return (
            f"{capital(held.theorem.claim)} ({held.theorem.name}). Every step makes the picture fit better, as F "
            "measures; this does not say that the steps end, that there is one answer, or that it is the true one."
        )
    if held.existence is None:
        return f"{capital(held.theorem.name)} ({held.theorem.hypothesis}): similar pictures stay similar."
    return (
        f"From step {held.start} on every step is proven never to move two pictures apart, {STANDS[held.existence]} "
        f"({held.theorem.name}). The proof is derived from the weights of the denoiser and the kernel, and the run was "
        "watched for any contradiction. It says that the result is stable and that nothing can run away; it does not "
        "say that the result is the true picture."
    )


def assumptions(run: Explained) -> str:
    """The premises of the proof, and the estimates that all of it is given."""
    known = assumed(run.certificate) if run.guarantee else []
    parts = list(dict.fromkeys(PLAIN.get(Premise.read(text).kind, text) for text in known))
    found = run.blur
    if found is not None and found.confidence is not None:
        doubt = ", which is doubtful" if found.confidence < DOUBTFUL else ""
        parts.append(f"the blur was estimated (confidence {found.confidence:.2f}{doubt}): all else holds for that blur")
    if run.kernel is not None and run.kernel.size > 1:
        parts.append("the blur is the same all over the picture")
    return f"{capital('; '.join(parts))}." if parts else "Nothing beyond what was checked."


def end(run: Explained) -> str:
    """How the run ended, and by how much its first and its last step changed the picture."""
    text = ENDED[run.status]
    if run.residuals:
        text += f" The change of a step, relative to the picture, was {run.residuals[0]:.1e} at first and "
        text += f"{run.residuals[-1]:.1e} after {run.steps} steps."
    return f"{text} The restoration took {run.seconds:.1f} s, without loading and writing."


def capital(text: str) -> str:
    """The text with a capital at its beginning."""
    return text[:1].upper() + text[1:]
