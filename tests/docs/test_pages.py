"""The pages hold together: links resolve, commands are ones the parser knows, versions agree."""

import argparse
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from docs_pages import ROOT, anchors, blocks, links, pages, read, rows, ticked

import mandi
from mandi.cli import _parser

COMMAND = re.compile(r"(?:^|\$ |`)(?:\.venv/bin/)?(mandi [a-z][^`\n]*)", re.MULTILINE)


def subparsers() -> dict[str, argparse.ArgumentParser]:
    action = next(a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def examples() -> list[tuple[str, str]]:
    """(page, command line) of every example a reader may paste."""
    found = []
    for page in pages():
        for block in blocks(page.read_text(), "sh"):
            lines = (line.removeprefix("$ ").removeprefix(".venv/bin/") for line in block.splitlines())
            found += [(page.name, line) for line in lines if line.startswith("mandi ")]
    return found


def words(line: str) -> list[str]:
    """The arguments of a command line, up to a pipe or redirection."""
    found = shlex.split(line, comments=True)[1:]
    return found[: next((at for at, word in enumerate(found) if word in {"|", ">", "&&", ";"}), len(found))]


def test_there_are_examples_to_test() -> None:
    assert len(examples()) >= 10


@pytest.mark.parametrize(("page", "line"), examples())
def test_an_example_parses(page: str, line: str) -> None:
    try:
        _parser().parse_args(words(line))
    except SystemExit:
        pytest.fail(f"{page}: `{line}` is wrong usage")


def test_an_option_that_is_not_there_would_be_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _parser().parse_args(words("mandi demo --no-such-option 1"))
    assert "--no-such-option" in capsys.readouterr().err


def test_the_readme_lists_the_commands_there_are() -> None:
    listed = [ticked(row["command"])[0] for row in rows(read("README.md"), "command")]
    assert sorted(word.split()[1] for word in listed if word.startswith("mandi ")) == sorted(subparsers())


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_a_command_named_in_passing_exists(page: Path) -> None:
    for command in COMMAND.findall(page.read_text()):
        assert command.split()[1] in subparsers(), command


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    for target in links(page.read_text()):
        path, _, anchor = target.partition("#")
        aim = (page.parent / path).resolve() if path else page
        assert aim.is_relative_to(ROOT), f"{target} leaves the repository"
        assert aim.exists(), f"{target} is not there"
        if anchor:
            assert anchor in anchors(aim.read_text()), f"{target}: no such heading"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached = {(ROOT / target.partition("#")[0]).resolve() for target in links(read("README.md"))}
    assert set((ROOT / "docs").glob("*.md")) <= reached


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)", page.read_text())) <= targets


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_paths_in_backticks_exist(page: Path) -> None:
    rooms = (
        "market|connectors|sinks|pipelines|gateway|feeds_simulator|mandi|sql|dashboards|benchmarks|deploy|docs|tests"
    )
    for path in re.findall(rf"`((?:{rooms})/[\w./-]*)`", page.read_text()):
        assert (ROOT / path).exists(), path


def test_one_version_everywhere() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    newest = re.search(r"^## (\S+)", read("CHANGELOG.md"), re.MULTILINE)
    assert newest is not None
    assert project == mandi.__version__ == newest[1]


def test_the_licence_is_the_one_named() -> None:
    assert tomllib.loads(read("pyproject.toml"))["project"]["license"] == "Apache-2.0"
    text = read("LICENSE")
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_glossary_gives_each_word_once_and_in_order() -> None:
    words = [row["word"].casefold() for row in rows(read("docs/glossary.md"), "word")]
    assert words == sorted(words)
    assert len(words) == len(set(words)) >= 50


def test_the_keys_of_the_dashboard_are_those_of_its_code() -> None:
    code = read("dashboards/web/src/views/controls.ts")
    shown = {word.encode().decode("unicode_escape") for word in re.findall(r'shown: "([^"]+)"', code)}
    shown |= {word.upper() for word in re.findall(r'pane\("(\w)", ', code)}
    documented = {key for row in rows(read("docs/dashboard.md"), "key") for key in ticked(row["key"])}
    assert documented == shown
