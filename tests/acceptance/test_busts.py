"""`mandi replay` of a file with busts and corrections: both stores hold what the row-by-row oracle says."""

import random
from decimal import Decimal
from pathlib import Path

import pytest
from reference import SECOND, Oracle, Row

from tests.acceptance.command import replay
from tests.acceptance.files import bars_of, latest
from tests.acceptance.stores import BothStores

T0 = 1_790_000_000 * SECOND
GOLD = [("XCEC", "XCEC:GC:202612"), ("XCEC", "XCEC:GC:202702"), ("XIMC", "XIMC:GOLD:202612")]
COLUMNS = "ts_event,ts_recv,instrument,kind,price,size,seq,trade_id"


@pytest.fixture
def stores(empty_stores: tuple[str, str]) -> BothStores:
    return BothStores(*empty_stores)


def market(count: int) -> list[Row]:
    """Trades of three instruments; every eighth row says something about an earlier one, or a later one."""
    chance = random.Random(17)
    places = [chance.choice(GOLD) for _ in range(count + 5)]
    found = []
    for name in range(count):
        arrives = T0 + name * SECOND // 2
        kind = chance.choice(["bust", "correction"]) if name % 8 == 7 else "trade"
        about = name if kind == "trade" else max(0, name + chance.choice([-300, -60, -9, -3, -3, 4]))
        ts = arrives - chance.choice([0, 0, 0, 5, 30]) * SECOND
        price, size = (1_300 + chance.randrange(99)) * SECOND, chance.randrange(1, 9) * SECOND
        found.append(Row(kind, *places[about], ts, arrives, price, size, name, name, f"T{about}"))
    return found


def write(path: Path, rows: list[Row]) -> Path:
    lines = [
        f"{row.ts},{row.recv},{row.instrument},{row.kind},{row.price // SECOND},{row.size // SECOND}"
        f",{row.seq},{row.trade_id}"
        for row in rows
    ]
    path.write_text("\n".join([COLUMNS, *lines]) + "\n")
    return path


def test_busts_and_corrections_reach_bars_and_net_trades_in_both_stores(stores, tmp_path) -> None:
    rows, oracle = market(4_000), Oracle()
    for row in rows:
        oracle.feed(row)
    oracle.end()
    summary = replay(write(tmp_path / "busts.csv", rows), tmp_path, "--batch-rows", 777, env=stores.environment)

    assert stores.bars() == bars_of(oracle)
    assert (summary["rows_in"], summary["late"]) == (4_000, len(oracle.late))
    assert stores.count("trades") == summary["rows_out"] == len(oracle.accepted)
    reasons = stores.ledger_rows("rejected", "reason")
    assert {row for row, why in reasons.items() if why == "unknown_trade"} == set(oracle.unknown)
    assert {row for row, why in reasons.items() if why == "no_effect"} == set(oracle.no_effect)
    assert len(oracle.unknown) > 50
    assert oracle.no_effect

    # What the trades come to is what the bars say, to the last lot.
    net: dict[str, list[Decimal]] = {}
    for instrument, size in stores.net_trades():
        net.setdefault(instrument, []).append(size)
    days = {key: bar for key, bar in latest(stores.bars()).items() if key[1] == "1d"}
    for instrument, sizes in net.items():
        mine = [bar for key, bar in days.items() if key[0] == instrument]
        assert (sum(sizes), len(sizes)) == (sum(bar[5] for bar in mine), sum(bar[7] for bar in mine))
