"""Reading the documentation: pages, tables, fenced blocks, headings and links. Support of tests/docs."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("market", "connectors", "sinks", "pipelines", "gateway", "feeds_simulator", "mandi", "benchmarks")

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def pages() -> list[Path]:
    """Every page of the repository that people read."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def read(name: str) -> str:
    return (ROOT / name).read_text()


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [body for found, body in _FENCE.findall(text) if found == language]


def prose(text: str) -> str:
    """The text without its fenced blocks."""
    return _FENCE.sub("", text)


def rows(text: str, heading: str) -> list[dict[str, str]]:
    """The rows of all tables whose first column has this heading, by column name."""
    found: list[dict[str, str]] = []
    names: list[str] = []
    for line in prose(text).splitlines():
        if not line.startswith("|"):
            names = []
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]
        if not names:
            names = cells
        elif names[0] == heading and not set(line) <= set("|- :"):
            assert len(cells) == len(names), f"a row of {heading} has {len(cells)} cells: {line}"
            found.append(dict(zip(names, cells, strict=True)))
    return found


def ticked(cell: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def anchors(text: str) -> set[str]:
    """The anchors that a code host makes of headings."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def links(text: str) -> Iterator[str]:
    """The targets of links and images that stay within the repository."""
    for target in _LINK.findall(prose(text)):
        if not re.match(r"[a-z]+:", target):
            yield target
