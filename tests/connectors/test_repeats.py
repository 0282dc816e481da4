"""Repetitions: found wherever the rows were cut, by id or by number, and nothing else is taken for one."""

import random

import numpy as np
import polars as pl
import pytest

from connectors.repeats import _LEAST_SLOTS, Repeats
from market.schemas import BUST, CORRECTION, QUOTE, TRADE

GC = "XCEC:GC:202612"
MONDAY = 1_795_433_400_000_000_000  # 2026-11-23 11:30 UTC
DAY = 86_400 * 10**9
SCHEMA = {
    "instrument": pl.String,
    "kind_code": pl.Int8,
    "ts_event_ns": pl.Int64,
    "seq_number": pl.Int64,
    "trade_id": pl.String,
}

RowTuple = tuple[str, int, int, int, str | None]


def frame(*rows: RowTuple) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=SCHEMA, orient="row")


def trade(trade_id: str | None, seq: int, ts: int = MONDAY, instrument: str = GC) -> RowTuple:
    return instrument, TRADE, ts, seq, trade_id


def repeated(*rows: RowTuple) -> list[bool]:
    return Repeats().among(frame(*rows)).tolist()


def test_an_id_that_comes_again_is_the_same_trade_whatever_else_it_says() -> None:
    assert repeated(trade("a", 1), trade("a", 1), trade("a", 2), trade("a", 3, MONDAY + 1), trade("b", 1)) == [
        *(False, True, True, True),
        False,
    ]


def test_an_id_of_another_instrument_or_trade_date_is_another_trade() -> None:
    evening = MONDAY + DAY // 2  # 23:30 UTC: Tuesday at COMEX
    rows = [trade("a", 1), trade("a", 1, instrument="XCEC:GC:202702"), trade("a", 1, evening)]
    assert repeated(*rows, trade("a", 1, MONDAY + DAY)) == [False, False, False, True]


def test_without_an_id_time_and_number_tell_rows_apart() -> None:
    rows = [trade(None, 1), trade(None, 2), trade(None, 1, MONDAY + 1), (GC, QUOTE, MONDAY, 1, None)]
    assert repeated(*rows, *rows) == [False] * 4 + [True] * 4


@pytest.mark.parametrize("kind", [BUST, CORRECTION])
def test_busts_and_corrections_are_left_to_the_tape(kind) -> None:
    amendment = (GC, kind, MONDAY, 2, "a")
    assert repeated(trade("a", 1), amendment, amendment, trade("b", 2)) == [False] * 4


def test_it_does_not_depend_on_where_the_rows_were_cut_nor_do_its_ends() -> None:
    chance = random.Random(5)
    rows = [trade(chance.choice([None, str(chance.randrange(300))]), chance.randrange(80)) for _ in range(3_000)]
    last: dict[tuple[object, ...], int] = {}
    near, known = [], []
    for at, (instrument, _, ts, seq, trade_id) in enumerate(rows):
        key = (instrument, trade_id) if trade_id else (instrument, ts, seq)
        seen = last.get(key)
        known.append(seen is not None)
        near.append(seen is not None and at - seen <= 100)
        last[key] = at
    assert Repeats().among(frame(*rows)).tolist() == known
    whole = Repeats(remembered=100).among(frame(*rows))
    assert (whole >= np.array(near)).all()  # at least so many rows back
    assert (whole <= np.array(known)).all()
    assert whole.tolist() != known
    cut = Repeats(remembered=100)
    found, at = [], 0
    while at < len(rows):
        end = at + chance.choice([1, 7, 99, 100, 101, 450])
        found += cut.among(frame(*rows[at:end])).tolist()
        at = end
    assert found == whole.tolist()


def test_memory_has_an_end() -> None:
    repeats = Repeats(remembered=1_000)
    for start in range(0, 20_000, 170):
        repeats.among(frame(*(trade(str(number), 0) for number in range(start, start + 170))))
    assert all(len(kept._one) == _LEAST_SLOTS for kept in (repeats._now, repeats._before))


def test_a_table_grows_and_loses_nothing() -> None:
    repeats, ids = Repeats(), [str(number) for number in range(3 * _LEAST_SLOTS)]
    for start in range(0, len(ids), 10_000):
        assert not repeats.among(frame(*(trade(name, 0) for name in ids[start : start + 10_000]))).any()
    assert repeats.among(frame(*(trade(name, 0) for name in ids[::97]))).all()
