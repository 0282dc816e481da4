"""docs/settings.md against the code: every variable, key, default and option, and none that is not there."""

import argparse
import re
from pathlib import Path

import pytest
from docs_pages import PACKAGES, ROOT, read, rows, ticked

from mandi import settings
from mandi.cli import _parser
from mandi.errors import UsageError

PAGE = read("docs/settings.md")
MISTAKES = {"MANDI_TIMESCALE_URL", "MANDI_CLICKHOUSE_URL", "MANDI_JWT_SECRETFILE", "MANDI_QQ", "MANDI_UNSET"}
"""What tests set to see it told."""

VARIABLE = re.compile(r"\bMANDI_[A-Z_]+[A-Z]\b")


def variables_in_code() -> set[str]:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    files.append(ROOT / "dashboards/web/vite.config.ts")
    return {name for path in files for name in VARIABLE.findall(path.read_text())}


def test_every_variable_is_documented_and_none_is_made_up() -> None:
    documented = {name for row in rows(PAGE, "variable") for name in ticked(row["variable"])}
    documented |= {name for row in rows(PAGE, "mandi.toml") for name in ticked(row["variable"])}
    assert documented == variables_in_code()


def test_every_variable_is_known_to_the_settings_and_none_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert variables_in_code() == settings.KNOWN
    said = [ROOT / "Makefile", ROOT / ".ci" / "run", ROOT / "Dockerfile", *(ROOT / "deploy").iterdir()]
    used = {name for path in [*said, *(ROOT / "tests").rglob("*.py")] for name in VARIABLE.findall(path.read_text())}
    for name in sorted(used - MISTAKES):
        settings.load(environment={name: "1"} if name not in settings.KNOWN else {})
    assert capsys.readouterr().err == ""


def test_no_page_names_a_variable_that_is_not_there() -> None:
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        assert set(VARIABLE.findall(path.read_text())) <= variables_in_code(), path.name


def test_keys_of_the_file_and_their_variables() -> None:
    documented = {ticked(row["mandi.toml"])[0]: ticked(row["variable"])[0] for row in rows(PAGE, "mandi.toml")}
    assert documented == settings._ENVIRONMENT


def test_defaults_are_what_an_empty_environment_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = settings.load(environment={})
    for row in rows(PAGE, "mandi.toml"):
        value = getattr(found, ticked(row["mandi.toml"])[0])
        if value is None:
            assert row["default"] == "none"
            continue
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        documented = ticked(row["default"])[0].replace("<data_dir>", str(found.data_dir))
        assert shown in (documented, str(tmp_path / documented)), row["mandi.toml"]


def test_the_example_file_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("mandi.toml").write_text(example)
    assert settings.load(environment={}).timescale.startswith("postgresql://")
    Path("mandi.toml").write_text(example + 'timescale_url = "1"\n')
    with pytest.raises(
        UsageError, match=r"mandi\.toml has the unknown setting timescale_url: did you mean timescale\?"
    ):
        settings.load(environment={})


def options_in_code() -> dict[tuple[str, str], argparse.Action]:
    action = next(a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))
    return {
        (command, option): each
        for command, parser in action.choices.items()
        for each in parser._actions
        for option in each.option_strings
        if option.startswith("--") and option not in ("--help", "--data-dir")
    }


def test_every_option_is_documented_with_its_default() -> None:
    documented = {(ticked(r["command"])[0], ticked(r["option"])[0]): r["default"] for r in rows(PAGE, "command")}
    found = options_in_code()
    assert documented.keys() == found.keys()
    for key, action in found.items():
        assert _means(documented[key], action), (key, documented[key], action.default)


def _means(documented: str, action: argparse.Action) -> bool:
    if action.default is None:
        return documented in ("none", "all", "`max`")
    if action.default is False:
        return documented == "off"
    shown = ticked(documented)[0]
    value: object = action.type(shown) if callable(action.type) else shown
    return bool(value == action.default)
