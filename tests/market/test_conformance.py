"""The conformance suite: every kernel x every check."""

import pickle
from dataclasses import replace
from unittest.mock import patch

import pytest
from arrivals import bar_tuples, batch, joined, names
from conformance import KERNELS, ipc, resumed, run
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import SECOND, Oracle, Row
from strategies import PLACES, T0, rows

from market import columns
from market.bars import BarsKernel

every_kernel = pytest.mark.parametrize("entry", KERNELS.values(), ids=KERNELS)
talking = {name: entry for name, entry in KERNELS.items() if entry.says}
every_talking_kernel = pytest.mark.parametrize("entry", talking.values(), ids=talking)
lasting = {name: entry for name, entry in KERNELS.items() if entry.lasts}
every_lasting_kernel = pytest.mark.parametrize("entry", lasting.values(), ids=lasting)

asked = {name: entry for name, entry in KERNELS.items() if entry.asked}


@every_talking_kernel
@given(data=st.data())
def test_output_does_not_depend_on_where_batches_are_cut(entry, data) -> None:
    arrivals = data.draw(rows())
    cuts = sorted(data.draw(st.sets(st.integers(0, len(arrivals)), max_size=8)))
    chunks = [arrivals[a:b] for a, b in zip([0, *cuts], [*cuts, len(arrivals)], strict=True)]
    whole = run(entry.build(), [arrivals], batch=entry.batch)
    assert run(entry.build(), chunks, batch=entry.batch) == whole
    assert run(entry.build(), [[row] for row in arrivals], batch=entry.batch) == whole


@pytest.mark.parametrize("entry", asked.values(), ids=asked)
@settings(max_examples=12)
@given(data=st.data())
def test_it_does_not_show_when_a_clock_asked(entry, data) -> None:
    """A silence comes to the same whether a clock asked all the time, once, or the next row shows that it was one."""
    arrivals = data.draw(rows(received=True))
    cut, gap_s = data.draw(st.integers(1, len(arrivals))), data.draw(st.sampled_from([3, 40, 700, 90_000]))
    shift = max(row.recv for row in arrivals) - min(row.recv for row in arrivals) + gap_s * SECOND
    head, tail = entry.batch(arrivals[:cut]), entry.batch([later(row, shift, 2 * gap_s) for row in arrivals[cut:]])
    newest = max((at for at in head.column("ts_recv").to_pylist() if at is not None), default=T0)
    next_ns = min((at for at in tail.column("ts_recv").to_pylist() if at is not None), default=newest + gap_s * SECOND)
    between = [newest + (next_ns - newest) * part // 1000 for part in data.draw(st.lists(st.integers(0, 1000)))]

    def said(*times: int) -> dict:
        kernel = entry.build()
        outputs = [kernel.on_batch(head), *map(kernel.on_time, times), kernel.on_batch(tail), kernel.on_eof()]
        return {name: found.to_pylist() for name, found in joined(outputs).items()}

    once = said(next_ns)
    assert said(*sorted(between), next_ns) == once
    assert tail.num_rows == 0 or said() == once


def later(row: Row, ns: int, names: int) -> Row:
    return replace(row, ts=row.ts + ns, recv=row.recv + ns, name=row.name + names)


@every_talking_kernel
@given(arrivals=rows(received=True))
def test_few_rows_are_told_as_many_are(entry, arrivals) -> None:
    few = run(entry.build(), [arrivals], batch=entry.batch)
    with patch.object(columns, "FEW_ROWS", 0):
        assert run(entry.build(), [arrivals], batch=entry.batch) == few


@every_talking_kernel
@given(arrivals=rows())
def test_a_snapshot_at_any_cut_resumes_as_if_nothing_happened(entry, arrivals) -> None:
    whole = run(entry.build(), [arrivals], batch=entry.batch)
    assert run(entry.build(), [[row] for row in arrivals], batch=entry.batch, resume=resumed(entry.build)) == whole


@every_kernel
@given(arrivals=rows(max_size=12))
def test_a_snapshot_is_not_changed_by_what_follows(entry, arrivals) -> None:
    kernel = entry.build()
    kernel.on_batch(entry.batch(arrivals))
    snapshot = kernel.snapshot()
    before = pickle.dumps(snapshot)
    kernel.on_batch(entry.batch(arrivals))
    kernel.on_eof()
    assert pickle.dumps(snapshot) == before


@every_kernel
@given(arrivals=rows(max_size=12))
def test_input_is_not_changed(entry, arrivals) -> None:
    given_batch = entry.batch(arrivals)
    before = ipc(given_batch)
    kernel = entry.build()
    kernel.on_batch(given_batch)
    kernel.on_eof()
    assert ipc(given_batch) == before


@every_kernel
def test_an_empty_batch_gives_nothing(entry) -> None:
    kernel = entry.build()
    assert kernel.on_batch(entry.batch([])) == {}
    assert kernel.on_eof() == {}


@every_kernel
def test_only_promised_outputs_come_out(entry) -> None:
    arrivals = [Row("trade", "XCEC", "XCEC:GC:202612", T0 + i * SECOND, None, 5, 5, i) for i in range(99)]
    assert set(run(entry.build(), [arrivals], batch=entry.batch)) <= set(entry.outputs)


def test_every_kernel_has_something_to_say() -> None:
    """A check of outputs that are empty checks nothing."""
    kinds = ("trade", "quote", "trade", "correction")
    places = [place for place in PLACES for _ in range(2)]
    arrivals = [
        Row(kinds[n % 4], *places[n % len(places)], T0 + n * 90 * SECOND, None, n, 1 + n, n, None, f"T{n - n % 4 // 3}")
        for n in range(120)
    ]
    silent = [name for name, entry in talking.items() if not run(entry.build(), [arrivals], batch=entry.batch)]
    assert not silent
    assert {type(entry.build()) for entry in talking.values()} == {type(entry.build()) for entry in KERNELS.values()}


@every_lasting_kernel
def test_state_is_bounded_over_days(entry) -> None:
    """Trades with stragglers, day after day: a day needs no more state than the day before (1d bars need a day)."""
    kernel = entry.build()
    sizes = []
    for step in range(3 * 288):
        start = T0 + step * 300 * SECOND
        arrivals = [straggling_trade(start + i * 5 * SECOND, i) for i in range(60)]
        kernel.on_batch(entry.batch(arrivals))
        sizes.append(len(pickle.dumps(kernel.snapshot())))
    assert max(sizes[576:]) <= max(sizes[288:576]) * 1.05
    assert max(sizes) < 200_000


def straggling_trade(ts: int, name: int) -> Row:
    late_by = name % 7 * 9 * SECOND
    return Row("trade", "XCEC", "XCEC:GC:202612", ts - late_by, ts, 5, 5, name, name, f"T{ts}")


@given(arrivals=rows(), intervals=st.sampled_from([("1s", "5s", "1m", "5m", "15m", "1h", "1d"), ("1m", "1h"), ("5s",)]))
def test_bars_equal_the_oracle_in_order(arrivals, intervals) -> None:
    oracle = Oracle(intervals=intervals)
    for row in arrivals:
        oracle.feed(row)
    oracle.end()
    kernel = BarsKernel(intervals=intervals)
    outputs = joined([kernel.on_batch(batch(arrivals)), kernel.on_eof()])
    assert bar_tuples(outputs.get("bars")) == oracle.published


@given(arrivals=rows(numbered=True, received=True), data=st.data())
def test_any_order_of_arrival_within_the_lateness_ends_in_the_same_bars(arrivals, data) -> None:
    newest_ts = max(row.ts for row in arrivals)
    within = [replace(row, recv=newest_ts) for row in arrivals if row.ts >= newest_ts - 60 * SECOND]
    in_order = newest(oracle_bars(sorted(within, key=Row.when)))
    mixed = data.draw(st.permutations(within))
    kernel = BarsKernel()
    outputs = joined([kernel.on_batch(batch(mixed)), kernel.on_eof()])
    assert newest(bar_tuples(outputs.get("bars"))) == in_order


@given(arrivals=rows())
def test_admission_equals_the_oracle_and_every_row_comes_out_once(arrivals) -> None:
    oracle = Oracle()
    for row in arrivals:
        oracle.feed(row)
    oracle.end()
    outputs = run(KERNELS["admission"].build(), [arrivals])
    out = names(outputs.get("trades", []) + outputs.get("quotes", []))
    assert sorted(out) == sorted(oracle.accepted)
    assert [row["source_row"] for row in outputs.get("late", [])] == oracle.late
    refused = {"unknown_trade": oracle.unknown, "no_effect": oracle.no_effect}
    refused["future_stamp"] = sorted(name for name in oracle.future if arrivals[name].kind != "clock")
    rejected = outputs.get("rejected", [])
    for reason, expected in refused.items():
        found = [row["source_row"] for row in rejected if row["reason"] == reason]
        assert (sorted(found) if reason == "future_stamp" else found) == expected
    clocks = sum(row.kind in ("clock", "state") for row in arrivals)
    assert len(out) + len(oracle.late) + len(rejected) == len(arrivals) - clocks


def test_after_lost_history_only_whole_windows_are_published() -> None:
    arrivals = [Row("trade", "XCEC", "XCEC:GC:202612", T0 + i * SECOND // 2, None, 5 + i, 5, i) for i in range(2000)]
    whole = {row[:5]: row for row in oracle_bars(arrivals)}
    kernel = BarsKernel()
    kernel.on_history_lost()
    cut = arrivals[777:]
    published = bar_tuples(joined([kernel.on_batch(batch(cut)), kernel.on_eof()])["bars"])
    assert published
    assert all(whole[row[:5]] == row for row in published)
    first = cut[0].ts
    assert {row[:5] for row in published} == {key for key in whole if key[3] >= first}


def oracle_bars(arrivals: list[Row]) -> list[tuple]:
    oracle = Oracle()
    for row in arrivals:
        oracle.feed(row)
    oracle.end()
    return oracle.published


def newest(bars: list[tuple]) -> dict[tuple, tuple]:
    """The last values of each bar, without its revision, when it was known, and its quality then."""
    return {bar[:4]: bar[5:12] for bar in bars}


def test_a_second_trade_within_a_second_outside_the_calendar_moves_nothing() -> None:
    trades = [Row("trade", "XIMC", "XIMC:GOLD:202612", T0 + at * SECOND, None, 0, 1, at) for at in (0, 7, 7)]
    arrivals = [*trades, Row("trade", "XCEC", "XCEC:GC:202612", T0 + 90 * SECOND, None, 0, 1, 8)]
    entry = KERNELS["quality"]
    whole = run(entry.build(), [arrivals], batch=entry.batch)
    assert run(entry.build(), [[row] for row in arrivals], batch=entry.batch) == whole
    assert len(whole["status"]) >= 2
