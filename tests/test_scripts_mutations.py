"""The table of mutations speaks of the code as it is: each line is there, once, and its tests are there."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import mutations
import pytest

TESTS = Path(__file__).parent


@pytest.mark.parametrize("mutation", mutations.MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_changes_one_line_of_the_package(mutation: mutations.Mutation) -> None:
    text = mutations.text_of(mutation)
    broken = text.replace(mutation.before, mutation.after)
    assert broken != text and len(broken.splitlines()) == len(text.splitlines())
    ast.parse(broken)
    assert mutation.tests and all((TESTS / test).is_file() for test in mutation.tests)


def test_twenty_lines_of_all_kinds_are_broken() -> None:
    assert len(mutations.MUTATIONS) >= 20
    assert len({mutation.name for mutation in mutations.MUTATIONS}) == len(mutations.MUTATIONS)


def test_a_line_that_is_gone_is_not_passed_over() -> None:
    with pytest.raises(SystemExit, match="expected its text once in pnpkit/certificates.py, found it 0 times"):
        mutations.text_of(replace(mutations.MUTATIONS[0], file="certificates.py"))
