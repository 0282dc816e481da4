"""The list of faults is true: every test it names is there, and no test of a file of tests/chaos in it is missing."""

import re
from collections import defaultdict

from docs_pages import ROOT, read, rows, ticked

PROMISED = {1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 16, 17}
LONG = re.compile(r"pytest\.mark\.chaos")


def written() -> dict[str, dict[str, str]]:
    """By name of a test file, its tests with the lines above them that decorate them."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text()
        whole_file = "".join(re.findall(r"^pytestmark = .*$", text, re.MULTILINE))
        for above, name in re.findall(r"((?:^@.*\n(?:^[ )\]].*\n)*)*)^def test_(\w+)", text, re.MULTILINE):
            names = "".join(value for word, value in constants(text).items() if word in above)
            found[path.name][name] = whole_file + above + names
    return found


def constants(text: str) -> dict[str, str]:
    """Parameters that a file has given a name."""
    return dict(re.findall(r"^(\w+) = (\[.*?pytest\.param.*?\])$", text, re.MULTILINE | re.DOTALL))


def listed() -> list[tuple[int, str, str, bool]]:
    """Fault, file, test, and whether `make chaos` does it for longer."""
    found = []
    for row in rows(read("docs/faults.md"), "fault"):
        for line in row["tests"].split("<br>"):
            file, _, names = line.partition(": ")
            starred = set(re.findall(r"`(\w+)`\*", names))
            found += [(int(row["fault"]), ticked(file)[0], name, name in starred) for name in ticked(names)]
    return found


def test_every_test_that_is_named_is_there() -> None:
    there = written()
    assert [(file, name) for _, file, name, _ in listed() if name not in there[file]] == []


def test_every_fault_has_a_test() -> None:
    assert {fault for fault, *_ in listed()} >= PROMISED


def test_every_test_of_a_file_of_faults_is_named() -> None:
    named = {file for _, file, *_ in listed()}
    suite = [path.read_text() for path in (ROOT / "tests/chaos").glob("test_*.py") if path.name in named]
    tests = {name for text in suite for name in re.findall(r"^def test_(\w+)", text, re.MULTILINE)}
    assert tests - set(ticked(read("docs/faults.md"))) == set()


def test_what_is_starred_has_a_long_version_and_nothing_else_has() -> None:
    there = written()
    for _, file, name, starred in listed():
        assert starred == bool(LONG.search(there[file][name])), (file, name)
