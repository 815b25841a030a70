"""The algebra of certificates: the formulas, their limits, and what must not follow."""

from __future__ import annotations

import json
import math
import sys
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnpkit import certificates
from pnpkit.certificates import Bound, Certificate, Premise, Side, together
from pnpkit.errors import InputError

alphas = st.floats(0.01, 0.99)


def averaged(alpha: float, name: str = "T") -> Certificate:
    return Certificate(name, 1.0, alpha, Side.PROVEN, "given")


@given(alphas, alphas)
def test_two_maps_follow_combettes_and_yamada(a: float, b: float) -> None:
    composed = certificates.compose([averaged(a), averaged(b)], "AB")
    assert composed.averagedness == pytest.approx((a + b - 2 * a * b) / (1 - a * b), rel=1e-9)
    assert composed.side is Side.PROVEN and composed.lipschitz == 1


@given(st.lists(alphas, min_size=3, max_size=6))
def test_composition_is_associative_and_flat(values: list[float]) -> None:
    parts = [averaged(a) for a in values]
    nested = certificates.compose([certificates.compose(parts[:2], "L"), *parts[2:]], "T")
    by_pairs = reduce(lambda a, b: (a + b - 2 * a * b) / (1 - a * b), values)
    assert nested.averagedness == pytest.approx(by_pairs, rel=1e-9)
    assert nested.parts == tuple(parts)


def test_identity_is_neutral() -> None:
    composed = certificates.compose([certificates.identity(), averaged(0.5)], "T")
    assert composed.averagedness == pytest.approx(0.5)


@given(alphas, st.floats(0.01, 3))
def test_relaxation(alpha: float, lam: float) -> None:
    relaxed = certificates.relax(averaged(alpha), lam, "R")
    if lam * alpha < 1:
        assert relaxed.averagedness == pytest.approx(lam * alpha) and relaxed.lipschitz <= 1
    else:
        assert relaxed.averagedness is None and relaxed.lipschitz == pytest.approx(abs(1 - lam) + lam)


def test_a_nonexpansive_map_becomes_averaged_by_relaxation() -> None:
    plain = Certificate("N", 1.0, None, Side.PROVEN, "given")
    assert certificates.relax(plain, 0.3, "R").averagedness == pytest.approx(0.3)
    assert certificates.relax(plain, 1.0, "R").averagedness is None


def test_a_contraction_after_an_expansion_is_averaged_when_the_product_contracts() -> None:
    small = Certificate("c", 0.25, None, Side.PROVEN, "given")
    large = Certificate("e", 2.0, None, Side.PROVEN, "given")
    composed = certificates.compose([small, large], "T")
    assert composed.lipschitz == 0.5 and composed.averagedness == 0.75


def test_nothing_follows_from_a_measurement() -> None:
    measured = Certificate("M", 0.9, None, Side.MEASURED, "power iteration")
    for derived in (
        certificates.compose([averaged(0.5), measured], "T"),
        certificates.relax(measured, 0.5, "T"),
    ):
        assert derived.side is Side.MEASURED and derived.averagedness is None and math.isinf(derived.lipschitz)
        assert not derived.proven


def test_the_outermost_map_decides_whether_the_range_is_bounded() -> None:
    box = Certificate("P", 1.0, 0.5, Side.PROVEN, "projection", bounded=True)
    assert certificates.compose([box, averaged(0.5)], "T").bounded
    assert not certificates.compose([averaged(0.5), box], "T").bounded


def test_json_round_trip_and_derivation_text() -> None:
    premise = Certificate("D", 1.0, 0.9, Side.PROVEN, "weights", premises=("exact arithmetic",))
    tree = certificates.scale(certificates.compose([premise, averaged(0.5, "G")], "D ∘ G"), 2.0, "scaled")
    data = json.loads(json.dumps(tree.to_json()))
    assert Certificate.from_json(data) == tree
    text = str(tree).splitlines()
    assert [len(line) - len(line.lstrip()) for line in text] == [0, 2, 4, 4, 0]
    assert "assumed, not checked: exact arithmetic" == text[-1]
    nothing = certificates.nothing("X", "because")
    assert Certificate.from_json(json.loads(json.dumps(nothing.to_json()))) == nothing
    assert nothing.to_json()["lipschitz"] is None


@pytest.mark.parametrize(
    ("lipschitz", "averagedness"), [(-1, None), (math.nan, None), (1, 0.0), (1, 1.0), (1, 1.5), (1.1, 0.5)]
)
def test_impossible_claims_are_refused(lipschitz: float, averagedness: float | None) -> None:
    with pytest.raises(InputError):
        Certificate("T", lipschitz, averagedness, Side.PROVEN, "given")
    with pytest.raises(InputError, match="Side.PROVEN or Side.MEASURED"):
        Certificate("T", 1.0, None, "proven", "given")


def test_an_averagedness_too_small_for_a_number_is_the_smallest_one() -> None:
    assert certificates.relax(certificates.identity(), 1e-20, "R").averagedness == sys.float_info.min


@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan])
def test_impossible_relaxations_and_scalings_are_refused(value: float) -> None:
    with pytest.raises(InputError, match="finite number > 0"):
        certificates.relax(averaged(0.5), value, "R")
    with pytest.raises(InputError, match="finite number > 0"):
        certificates.scale(averaged(0.5), value, "S")


def test_a_bound_is_true_where_it_is_proven_and_finite() -> None:
    proven, measured = Bound(1.5, Side.PROVEN, "symbol"), Bound(1.4, Side.MEASURED, "power iteration")
    assert proven and not measured and not Bound(math.inf, Side.PROVEN, "none")
    assert (str(proven), str(measured)) == ("<= 1.5 (symbol)", ">= 1.4 (power iteration)")
    for value in (-1.0, math.nan):
        with pytest.raises(InputError, match="at least 0"):
            Bound(value, Side.PROVEN, "made up")


@pytest.mark.parametrize("premise", [Premise("W is orthonormal"), Premise("the solver is exact", "to 1e-6: proven")])
def test_a_premise_reads_what_it_prints(premise: Premise) -> None:
    assert Premise.read(str(premise)) == premise


def test_premises_that_differ_in_a_number_are_printed_once() -> None:
    near, far = (Premise("the solver is exact", f"to {error}, or after 500 steps") for error in ("1e-06", "3e-05"))
    other = Premise("W is orthonormal")
    assert together([near, other, far]) == ["the solver is exact: to 1e-06 to 3e-05, or after 500 steps", str(other)]
    parts = [Certificate("T", 1.0, 0.5, Side.PROVEN, "given", premises=(str(p),)) for p in (far, near, near)]
    composed = certificates.compose(parts, "TTT")
    assert composed.all_premises() == (far, near) and str(composed).count("the solver is exact") == 1
    assert together([Premise("pictures in 0..1"), Premise("in 2-D")]) == ["pictures in 0..1", "in 2-D"]
