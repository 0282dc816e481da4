"""What the code says about itself: every module has its sentence, and every example in a docstring is true."""

import doctest
import importlib
import pkgutil
from types import ModuleType

import pytest
from docs_pages import PACKAGES, ROOT

EXAMPLES_AT_LEAST = 15


def module_names() -> list[str]:
    found = list(PACKAGES)
    for package in PACKAGES:
        found += [each.name for each in pkgutil.walk_packages([str(ROOT / package)], f"{package}.")]
    return [name for name in found if not name.endswith("__main__")]


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.mark.parametrize("name", module_names())
def test_a_module_says_what_it_is(name: str) -> None:
    text = load(name).__doc__
    assert text is not None
    assert text.strip()


@pytest.mark.parametrize("name", module_names())
def test_examples_in_docstrings_are_true(name: str) -> None:
    result = doctest.testmod(load(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_examples_are_found() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = sum(len(test.examples) for name in module_names() for test in finder.find(load(name)))
    assert found >= EXAMPLES_AT_LEAST
