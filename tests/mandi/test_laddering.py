"""`mandi parity`: ladders of typed prices, and what is said when it cannot."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from mandi.cli import main

GOLD = ["parity", "GOLD", "--price", "4150", "--fx", "95.6", "--on", "2026-11-23"]


def asked(tmp_path: Path, *arguments: str) -> int:
    return main([*arguments, "--data-dir", str(tmp_path)])


def test_gold_as_json_is_exact_and_adds_up(tmp_path: Path, capsys) -> None:
    assert asked(tmp_path, *GOLD, "--local", "149000", "--json") == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert shown["landing"]["duty"] == "19838.26"
    sold, bought = shown["directions"]
    assert (sold["direction"], sold["lots"]) == ("buy_foreign", {"local": 3, "foreign": 1})
    for each in (sold, bought):
        total = Decimal(each["gross"]) - sum(Decimal(cost) for cost in each["costs"].values())
        assert abs(total - Decimal(each["net"])) <= Decimal("0.001")


def test_without_a_local_price_it_lands_the_foreign_one(tmp_path: Path, capsys) -> None:
    assert asked(tmp_path, *GOLD) == 0
    shown = capsys.readouterr().out
    assert "19838.26" in shown
    assert "147006.67" in shown
    assert "assumed" in shown


def test_decimal_points_stand_under_each_other(tmp_path: Path, capsys) -> None:
    assert asked(tmp_path, *GOLD, "--local", "149000") == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "." in line and line.startswith("│")]
    assert len(rows) == 18
    assert len({tuple(at for at, sign in enumerate(line) if sign == ".") for line in rows}) == 1


def test_a_commodity_names_all_its_contracts(tmp_path: Path, capsys) -> None:
    assert asked(tmp_path, "parity", "gold-all", "--price", "1", "--fx", "1") == 2
    assert "choose among GOLD, GOLDM, SILVER" in capsys.readouterr().err
    assert asked(tmp_path, "parity", "wti", "--price", "-37.63", "--fx", "76.4", "--local", "2884", "--json") == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert shown["landing"]["landed"] == "-2874.93"


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["parity", "GOLD", "--price", "4150"], 2, "--price and --fx belong together"),
        (["parity", "GOLD", "--local", "4150"], 2, "--local needs --price and --fx"),
        (["parity", "GOLD", "--price", "4150", "--fx", "0"], 2, "no exchange rate"),
        (["parity", "GOLD", "--price", "x", "--fx", "95"], 2, "'x' is not a price"),
        ([*GOLD[:-1], "2020-01-05"], 2, "no route is known on 2020-01-05"),
        ([*GOLD[:-1], "2026-01-05"], 1, "no tariff_values of gold on 2026-01-05"),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path: Path, capsys, arguments: list[str], code: int, reason: str) -> None:
    assert asked(tmp_path, *arguments) == code
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1
