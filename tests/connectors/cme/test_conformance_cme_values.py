"""Cases 19, 20 and 28 for FIX: clocks, what begins anew with a session or a day, and prices that are none."""

import pyarrow as pa

from market.bars import BarsKernel
from market.kernel import arrivals
from market.schemas import CORRECTION, TICKS, TRADE
from tests.connectors.cme.peer import GC, Peer, Start, change, ids, live, prices, trade
from tests.connectors.fix.wire import SECOND, T0


def test_case_19_clock_skew_is_reported_with_its_size(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    peer.say(trade("t1"), at=T0 + 19_800 * SECOND)
    assert "371=52|372=X|373=10|" in peer.expect("35=3")
    assert peer.closed()
    desk.until(lambda: any("clock_skew +19800 s" in reason for _, _, reason in desk.status))
    assert ids(desk) == []


def test_case_19_precisions_and_midnight(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    for time in ("03:23:17", "03:23:17.25", "03:23:17.000000250"):
        peer.say(trade(time).replace("273=03:23:17.000", f"273={time}"))
    peer.say(trade("yesterday").replace("272=20261121|273=03:23:17.000", "273=23:59:59"))
    desk.until(lambda: len(ids(desk)) == 4)
    assert [row["ts_event"] - T0 for row in desk.of(TRADE)][:3] == [0, 250_000_000, 250]
    assert T0 - 13 * 3600 * SECOND < desk.of(TRADE)[3]["ts_event"] < T0


def test_case_19_a_leap_second_and_a_second_that_comes_twice(peer: Peer, start: Start) -> None:
    """All are said as they were told, in the order in which they came, and count in one bar."""
    desk = live(peer, start)
    times = ("23:59:59.400", "23:59:60", "23:59:60.900", "00:00:00", "00:00:00.900", "00:00:00.100", "00:00:01")
    for number, time in enumerate(times):
        day = "20261121" if time.startswith("23") else "20261122"
        at = f"272={day}|273={time}"
        peer.say(trade(f"t{number}").replace("272=20261121|273=03:23:17.000", at))
    desk.until(lambda: len(ids(desk)) == len(times))
    assert ids(desk) == [f"t{number}" for number in range(len(times))]
    rows = desk.of(TRADE)
    midnight = rows[3]["ts_event"]
    assert midnight == T0 // (86_400 * SECOND) * 86_400 * SECOND + 86_400 * SECOND
    assert [(row["ts_event"] - midnight) // 10**8 for row in rows] == [-6, 0, 9, 0, 9, 1, 10]
    arrived = [(row["seq"], row["ts_recv"]) for row in rows]
    assert arrived == sorted(arrived)
    assert desk.gaps == []
    assert desk.rejected == []

    kernel = BarsKernel(intervals=("1m",))
    # The clock of this desk stands, so the rows say nothing of when they came.
    batch = pa.RecordBatch.from_pylist([row | {"ts_recv": row["ts_event"]} for row in rows], schema=TICKS)
    numbers = pa.array(range(len(rows)), pa.int64())
    outputs = [kernel.on_batch(arrivals(batch, "test", numbers, numbers)), kernel.on_eof()]
    bars = [bar for output in outputs if "bars" in output for bar in output["bars"].to_pylist() if bar["final"]]
    newest = {bar["ts_open"]: bar["trades"] for bar in bars}
    assert newest == {midnight - 60 * SECOND: 1, midnight: 6}
    assert not any("late" in output for output in outputs)


def test_case_20_numbers_begin_anew_within_a_session(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    peer.say(trade("t1"))
    desk.until(lambda: ids(desk) == ["t1"])
    assert desk.last is not None
    before = desk.last.positions["session"]
    desk.pass_s(1)
    peer.seq = 0
    peer.say("35=A|98=0|108=10|141=Y")
    assert "141=Y" in peer.expect("35=A")
    peer.expect("35=g")
    peer.image(rpt=1)
    peer.say(trade("t2"))
    desk.until(lambda: len(ids(desk)) == 2)
    assert desk.last.positions["session"] != before
    assert any(row["reason"] == "session_reset" for row in desk.gaps)


def test_case_20_a_settlement_that_changes_is_no_price_of_the_book(peer: Peer, start: Start) -> None:
    """Of today (269=6) and of the day before (M), new and then changed, alone and beside a change of the book."""
    desk = live(peer, start)
    settled = "55=GCZ6|271=0|272=20261121|273=03:23:17.000|83=2"
    for action, kind, price in ((0, "6", "4140.0"), (0, "M", "4120.0"), (1, "M", "4125.5")):
        peer.say(f"35=X|262=B/{GC}|268=1|279={action}|269={kind}|{settled}|270={price}")
    beside = change(0, 0, 1, "4150.2", 7, 2).replace("268=1", "268=2")
    peer.say(f"{beside}|279=1|269=6|55=GCZ6|270=4141.0|83=2")
    peer.say(trade("t1"))
    desk.until(lambda: ids(desk) == ["t1"])
    assert prices(desk) == [(41501, 41503), (41502, 41503)]
    assert desk.rejected == []
    assert not any("|35=3|" in text or "262=I" in text for text in peer.heard)


def test_case_28_a_price_that_is_none_of_its_contract_is_kept_apart(peer: Peer, start: Start) -> None:
    """A slip by ten is a trade: the exchange itself printed it, and busts it if it was none."""
    desk = live(peer, start)
    for number, price in enumerate(("4150.2", "4150.25", "0", "-4150.2", "41502.0"), 1):
        peer.say(trade(f"t{number}", price))
    peer.say(trade("t1", "4150.33", action=1))  # a correction, too
    peer.say(trade("t6"))
    desk.until(lambda: len(ids(desk)) == 3)
    assert ids(desk) == ["t1", "t5", "t6"]
    assert desk.of(CORRECTION) == []
    assert [(row["reason"], row["instrument"]) for row in desk.rejected] == [
        ("off_tick", GC),
        ("out_of_range", GC),
        ("out_of_range", GC),
        ("off_tick", GC),
    ]
    assert desk.gaps == []
    assert not any("|35=3|" in text or "262=I" in text for text in peer.heard)  # the messages are as they must be


def test_case_28_oil_may_be_negative(peer: Peer, start: Start) -> None:
    desk = start(products=(("XNYM", "CL"),))
    peer.logged_on()
    (key,) = {text.split("/")[1].split("|")[0] for text in peer.heard if "|262=T/" in text}
    month = f"{'FGHJKMNQUVXZ'[int(key[-2:]) - 1]}{key[-3]}"
    peer.say(trade("t1", "-37.63").replace(f"/{GC}", f"/{key}").replace("55=GCZ6", f"55=CL{month}"))
    desk.until(lambda: ids(desk) == ["t1"])
    assert desk.of(TRADE)[0]["price"] == -37_630_000_000
    assert desk.rejected == []
