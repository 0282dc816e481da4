"""What goes wrong on purpose goes wrong at the announced message and time, and is counted."""

from feeds_simulator.events import Event, TradeEvent
from feeds_simulator.faults import SWAP_WITHIN_NS, Distortion, Faults, Wire

S = 10**9


def sent(faults: Faults, count: int) -> list[str]:
    wire: Wire[str] = Wire(faults, 0)
    return [out for number in range(1, count + 1) for out in wire.send(f"{number:02}")]


def test_without_faults_everything_passes() -> None:
    assert sent(Faults(), 4) == ["01", "02", "03", "04"]


def test_by_message_number() -> None:
    assert sent(Faults(drop_every=3), 7) == ["01", "02", "04", "05", "07"]
    assert sent(Faults(duplicate_every=2), 3) == ["01", "02", "02", "03"]
    assert sent(Faults(swap_every=2), 5) == ["01", "03", "02", "05", "04"]
    assert sent(Faults(garble_every=2), 3) == ["01", "0", "03"]


def test_each_strike_is_counted() -> None:
    faults = Faults(drop_every=2, duplicate_every=3)
    sent(faults, 12)
    assert faults.done == {"dropped": 6, "duplicated": 2}


def test_each_connection_counts_for_itself() -> None:
    faults = Faults(drop_every=2)
    first, second = Wire[bytes](faults, 0), Wire[bytes](faults, 0)
    assert [first.send(b"1"), second.send(b"1"), first.send(b"2"), second.send(b"2")] == [(b"1",), (b"1",), (), ()]


def test_a_swapped_message_does_not_wait_for_ever() -> None:
    wire: Wire[str] = Wire(Faults(swap_every=1), 0)
    assert wire.due(5 * S) == ()
    assert wire.send("last") == ()
    assert list(wire.due(5 * S + SWAP_WITHIN_NS - 1)) == []
    assert list(wire.due(5 * S + SWAP_WITHIN_NS)) == ["last"]
    assert wire.due(9 * S) == ()


def test_delayed_messages_are_overtaken_and_come_when_due() -> None:
    wire: Wire[str] = Wire(Faults(delay_every=2, delay_s=3.0), 0)
    assert [*wire.send("1"), *wire.send("2"), *wire.send("3")] == ["1", "3"]
    wire.due(S)
    assert list(wire.send("4")) == []
    assert list(wire.due(3 * S - 1)) == []
    assert list(wire.due(3 * S)) == ["2"]
    assert list(wire.due(4 * S)) == ["4"]


def test_a_connection_is_cut_by_its_age_or_because_the_venue_is_down() -> None:
    faults = Faults(disconnect_every_s=2.0)
    wire: Wire[str] = Wire(faults, 10 * S)
    assert [wire.must_close(12 * S - 1), wire.must_close(12 * S)] == [False, True]
    faults.disconnect_every_s = 0.0
    assert not wire.must_close(99 * S)
    faults.down = True
    assert wire.must_close(99 * S)


def trades(count: int) -> list[list[Event]]:
    return [[TradeEvent(number * S, "CT Z26", str(number), 10, 1, "B")] for number in range(1, count + 1)]


def test_late_trades_keep_their_time_and_lose_their_place() -> None:
    told = Distortion(Faults(late_every=2, late_s=10.0))
    (first, third) = told.apply(trades(3), 3 * S)
    assert [first[0].ts_event, third[0].ts_event] == [1 * S, 3 * S]
    assert told.next_ns == 12 * S
    assert told.apply([], 12 * S - 1) == []
    ((late,),) = told.apply([], 12 * S)
    assert late.ts_event == 2 * S
    assert told.next_ns is None


def test_who_closes_tells_what_was_held_back_and_does_nothing_wrong_any_more() -> None:
    faults = Faults(late_every=2, late_s=10.0, drop_every=3, half_open=True, clock_offset_s=5.0)
    told = Distortion(faults)
    assert len(told.apply(trades(2), S)) == 1
    faults.close()
    assert len(told.apply([], S)) == 1
    assert told.next_ns is None
    assert faults == Faults(closing=True, clock_offset_s=5.0, late_s=10.0, done=faults.done)


def test_future_stamps_and_a_wrong_clock_add_up() -> None:
    faults = Faults(future_every=2, future_s=600.0, clock_offset_s=-5.0)
    stamps = [action[0].ts_event for action in Distortion(faults).apply(trades(2), 2 * S)]
    assert stamps == [-4 * S, 597 * S]
    assert faults.done == {"future": 1}


def test_without_faults_the_actions_are_not_copied() -> None:
    actions = trades(3)
    assert Distortion(Faults()).apply(actions, 3 * S) is actions
