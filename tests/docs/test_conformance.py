"""The list of conformance cases is true: every test it names is there, and every test there is named."""

import re

from docs_pages import ROOT, read, rows, ticked

CASES = {f"{number}" for number in range(1, 31)}


def written() -> dict[str, set[str]]:
    """By case, `venue: name` of every test over a socket."""
    found: dict[str, set[str]] = {case: set() for case in CASES}
    for path in ROOT.glob("tests/connectors/*/test_conformance_*.py"):
        for number, rest in re.findall(r"def test_case_(\d\d)(_\w+)", path.read_text()):
            found[str(int(number))].add(f"{path.parent.name}: case_{number}{rest}")
    return found


def listed() -> dict[str, set[str]]:
    found = {}
    for row in rows(read("docs/conformance.md"), "case"):
        lines = [line.partition(": ") for line in row["tests"].split("<br>")]
        found[row["case"]] = {f"{venue}: {name}" for venue, _, names in lines for name in ticked(names)}
    return found


def test_the_list_is_that_of_the_tests() -> None:
    assert listed() == written()


def test_every_case_has_a_test() -> None:
    assert [case for case, names in written().items() if not names] == []
