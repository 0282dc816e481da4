"""`mandi demo` on four venues at once: both stores hold what the simulators said, whatever went wrong on the wire."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from tests.acceptance.reconcile import SETTLE_S, Line, Reconciliation, demo, reconcile
from tests.acceptance.stores import BothStores

GOLD = Line(feed="cme", instrument="XCEC:GC:202612", said=9, held=7, aside=1)
MCX_GOLD = Line(feed="mcx", instrument="XIMC:GOLD:202612", said=9, held=9, aside=0, lots_said=30, lots_held=Decimal(30))


@pytest.fixture
def stores(empty_stores: tuple[str, str]) -> BothStores:
    return BothStores(*empty_stores)


def test_every_instrument_reconciles_though_messages_are_lost_and_doubled(stores: BothStores, tmp_path: Path) -> None:
    names = "gap,duplicate,bust_and_correct"
    # Gaps come round every 60 s of the market for 20 s: COMEX then says about fifty messages, and every 40th is lost.
    demo(tmp_path, scenario=names, rate=120, duration_s=27, settle_s=SETTLE_S, speed=4, env=stores.environment)
    found = reconcile(tmp_path, stores)
    assert found.unexplained() == []
    assert {line.feed for line in found.lines if line.held} == {"ice", "mcx", "cme", "bloomberg"}
    assert all({"dropped", "duplicated"} <= struck.keys() for struck in found.wire.values()), found.wire
    # Who can repeat what was lost has repeated it.
    assert [line for line in found.lines if line.feed in ("ice", "cme") and line.missing] == []


@pytest.mark.parametrize(("said", "lost", "explained"), [(8, 0, True), (9, 1, True), (9, 0, False), (7, 5, False)])
def test_what_no_gap_owns_up_to_is_unexplained(said: int, lost: int, explained: bool) -> None:
    line = replace(GOLD, said=said)
    run = Reconciliation(lines=[line], wire={}, lost={"cme": lost}, reasons={}, aside={}, channels={})
    assert run.unexplained() == ([] if explained else [line])


@pytest.mark.parametrize(("channel", "explained"), [("GC1 Comdty", False), ("GCZ6 Comdty", True), ("ticks", True)])
def test_where_nothing_is_numbered_a_gap_owns_up_to_its_instrument(channel: str, explained: bool) -> None:
    line = replace(GOLD, feed="bloomberg", instrument="BBG:GC:202612")
    channels = {"bloomberg": frozenset({channel})}
    run = Reconciliation(lines=[line], wire={}, lost={"bloomberg": 10**9}, reasons={}, aside={}, channels=channels)
    assert run.unexplained() == ([] if explained else [line])


@pytest.mark.parametrize(
    ("said", "channel", "explained"),
    [(30, "GCZ6 Comdty", True), (31, "GCZ6 Comdty", False), (31, "ticks", True), (8, "CTZ6 Comdty", False)],
)
def test_a_gap_of_bloomberg_owns_up_to_what_the_wire_lost(said: int, channel: str, explained: bool) -> None:
    line = replace(GOLD, feed="bloomberg", instrument="BBG:GC:202612", said=said + 1, held=0, struck=30)
    channels = {"bloomberg": frozenset({channel})}
    wire = {"bloomberg": {"dropped": 1}}  # an event of many messages
    run = Reconciliation(lines=[line], wire=wire, lost={"bloomberg": 1}, reasons={}, aside={}, channels=channels)
    assert run.unexplained() == ([] if explained else [line])


class Gold:
    """Stands for the stores: seven trades of Bloomberg's gold, and one gap."""

    def __init__(self, channel: str) -> None:
        self._channel = channel

    def grouped(self, table: str, by: str, where: str = "1 = 1") -> list[tuple[str, int]]:  # noqa: ARG002
        return [("BBG:GC:202612", 7)] if table == "trades" else []

    def count(self, table: str) -> int:  # noqa: ARG002
        return 0

    def lots(self) -> list[tuple[str, Decimal]]:
        return []

    def gaps(self) -> list[tuple[object, ...]]:
        return [("BBG", self._channel, 5, 6, "snapshot", 0, "DATALOSS")]


@pytest.mark.parametrize(("struck", "channel", "explained"), [(23, "GC", True), (22, "GC", False), (23, "CT", False)])
def test_what_the_wire_of_bloomberg_lost_is_in_the_truth(
    tmp_path: Path, struck: int, channel: str, explained: bool
) -> None:
    key = "BBG:GC:202612"
    told = {"instruments": {key: {"trades": 30, "books": 9}}, "wire": {"dropped": 1}, "lost": {key: struck}}
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "counts-1.json").write_text(json.dumps({"venues": {"bloomberg": told}}))
    found = reconcile(tmp_path, Gold(f"{channel}Z6 Comdty"))
    assert [(line.missing, line.struck) for line in found.lines] == [(23, struck)]
    assert found.lost == {"bloomberg": struck}
    assert found.unexplained() == ([] if explained else list(found.lines))


@pytest.mark.parametrize(("lots_held", "explained"), [(30, True), (29, False), (31, False)])
@pytest.mark.parametrize("held", [6, 9])
def test_rows_of_mcx_may_be_merged_where_the_lots_agree(held: int, lots_held: int, explained: bool) -> None:
    line = replace(MCX_GOLD, held=held, lots_held=Decimal(lots_held))
    other = replace(MCX_GOLD, instrument="XIMC:SILVER:202612", held=9)  # that its lots agree excuses nobody else
    wire = {"mcx": {"dropped": 5, "duplicated": 5}}
    run = Reconciliation(lines=[line, other], wire=wire, lost={}, reasons={}, aside={}, channels={})
    assert run.unexplained() == ([] if explained else [line])


def test_lots_of_mcx_that_differ_are_what_a_gap_owns_up_to() -> None:
    line = replace(MCX_GOLD, held=6, lots_held=Decimal(29))
    for channel, explained in (("ticks", True), (MCX_GOLD.instrument, True), ("XIMC:SILVER:202612", False)):
        channels = {"mcx": frozenset({channel})}
        run = Reconciliation(lines=[line], wire={}, lost={"mcx": 10**9}, reasons={}, aside={}, channels=channels)
        assert run.unexplained() == ([] if explained else [line])


def test_more_rows_of_mcx_than_were_said_are_unexplained_whatever_the_lots() -> None:
    line = replace(MCX_GOLD, held=10)
    run = Reconciliation(lines=[line], wire={}, lost={"mcx": 10**9}, reasons={}, aside={}, channels={})
    assert run.unexplained() == [line]


@pytest.mark.parametrize(("doubled", "repeated", "explained"), [(1, 1, True), (0, 1, False), (1, 0, False)])
def test_a_bust_that_came_twice_is_said_once(doubled: int, repeated: int, explained: bool) -> None:
    line = replace(GOLD, feed="bloomberg", said=32, held=32, repeated=repeated)
    wire = {"bloomberg": {"duplicated": doubled}}
    run = Reconciliation(lines=[line], wire=wire, lost={}, reasons={}, aside={}, channels={})
    assert run.unexplained() == ([] if explained else [line])
