"""A guarantee is a value: true where a theorem covers the run, and one sentence in print."""

from __future__ import annotations

import json

import pytest

from pnpkit.certificates import Certificate, Premise, Side, nothing
from pnpkit.solvers.guarantee import Before, Existence, Guarantee, Lack, Theorem, withdrawn
from pnpkit.solvers.iterations import ITERATIONS, KrasnoselskiiMann, Picard
from pnpkit.solvers.result import Status, guarantee

AVERAGED = Certificate("T", 1.0, 0.5, Side.PROVEN, "given", premises=("exact: by the user",))
BOUNDED = Certificate("T", 1.0, 0.5, Side.PROVEN, "given", bounded=True)
CONTRACTION = Certificate("T", 0.5, 0.75, Side.PROVEN, "given")


@pytest.mark.parametrize(
    ("certificate", "existence", "words"),
    [
        (
            AVERAGED,
            Existence.ASSUMED,
            "converges to a fixed point if there is one (Krasnosel'skii-Mann: T is 0.5-averaged; the existence is "
            "assumed, not checked; under the premises that the certificate names)",
        ),
        (
            BOUNDED,
            Existence.BOUNDED,
            "converges to a fixed point from any start (Krasnosel'skii-Mann: T is 0.5-averaged; fixed points exist: "
            "bounded range, Browder 1965)",
        ),
        (
            CONTRACTION,
            Existence.UNIQUE,
            "converges to the unique fixed point from any start (Banach: T is a contraction with factor 1 - 0.5, "
            "linear rate)",
        ),
    ],
)
def test_the_existence_follows_from_the_certificate(certificate: Certificate, existence: Existence, words: str) -> None:
    found = guarantee(certificate, Picard())
    assert found and found.existence is existence and str(found) == words
    assert found.premises == tuple(Premise.read(text) for text in certificate.premises)


def test_why_nothing_is_guaranteed_is_a_value() -> None:
    cases = {
        Lack.CLAIM: guarantee(nothing("D", "no bound is known"), Picard()),
        Lack.THEOREM: guarantee(AVERAGED, KrasnoselskiiMann(2.5)),
        Lack.CONTRADICTED: guarantee(AVERAGED, Picard(), [Status.CONVERGED, Status.FALSIFIED]),
        Lack.OVERFLOW: guarantee(AVERAGED, Picard(), [Status.NOT_FINITE]),
    }
    for lack, found in cases.items():
        assert not found and found.lack is lack and str(found).startswith("nothing is guaranteed: ")
        assert found.theorem is None and found.existence is None
    assert str(cases[Lack.CLAIM]).endswith("no bound is known")


@pytest.mark.parametrize("name", ITERATIONS)
def test_an_iteration_with_no_proven_map_has_no_theorem(name: str) -> None:
    assert ITERATIONS[name]().theorem(nothing("D", "no bound is known")) is None


def test_what_came_before_is_said_around_the_claim() -> None:
    before = (Before(4, "the steps before made the guide"), Before(6, "nothing is known of those", ", in float32"))
    late = Guarantee(Theorem("Banach", "T contracts"), Existence.UNIQUE, before=before)
    assert late.start == 7 and str(late) == (
        "from step 5 on: from step 7 on, in float32: converges to the unique fixed point from any start "
        "(Banach: T contracts); nothing is known of those; the steps before made the guide"
    )


def test_json_has_the_structure_and_the_text() -> None:
    data = json.loads(json.dumps(guarantee(AVERAGED, Picard()).to_json()))
    assert data["theorem"] == {"name": "Krasnosel'skii-Mann", "hypothesis": "T is 0.5-averaged"}
    assert data["existence"] == "assumed" and data["premises"] == [{"kind": "exact", "detail": "by the user"}]
    assert data["text"] == str(guarantee(AVERAGED, Picard())) and data["lack"] is None and data["start"] == 1
    assert withdrawn(Lack.CONTRADICTED).to_json()["lack"] == "contradicted"
