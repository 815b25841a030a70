"""The examples in the docstrings run, and public names say what they are."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
import torch

import pnpkit

LEAST = 40  # docstrings with an example
PANELS = ("pnpkit.plugins.napari.panels",)  # which need napari, an extra


def modules() -> Iterator[str]:
    for module in pkgutil.walk_packages(pnpkit.__path__, "pnpkit."):
        if not module.name.endswith("__main__") and not (module.name in PANELS and find_spec("napari") is None):
            yield module.name


def examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = []
    for name in modules():
        found += [test for test in finder.find(importlib.import_module(name), name) if test.examples]
    return found


EXAMPLES = examples()


def test_there_are_examples_enough() -> None:
    assert len(EXAMPLES) >= LEAST


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda test: test.name.removeprefix("pnpkit."))
def test_the_example_runs(example: doctest.DocTest) -> None:
    said: list[str] = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        outcome = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example, out=said.append)
    assert outcome.failed == 0, "".join(said)


def test_public_names_and_their_methods_have_docstrings() -> None:
    """An override may say what it does by what it overrides."""
    without = []
    for name in pnpkit.__all__:
        value = getattr(pnpkit, name)
        if name == "__version__":
            continue
        if not inspect.getdoc(value):
            without.append(name)
        data = getattr(value, "__dataclass_fields__", {})  # a field may hold a function
        for part, member in vars(value).items() if inspect.isclass(value) else ():
            if part[0] != "_" and part not in data and (inspect.isroutine(member) or isinstance(member, property)):
                if not inspect.getdoc(getattr(value, part)):
                    without.append(f"{name}.{part}")
    assert without == []
