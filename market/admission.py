"""The admission kernel: which rows go straight through, and which into the ledger instead.

It judges rows with the same watermark and the same tape as every other kernel of the shard, so all agree on what was
late, and on which trades were busted or corrected.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from market.columns import concat_batches, values
from market.kernel import Outputs
from market.schemas import (
    BUST,
    CLOCK,
    FLAG_BUST,
    FLAG_CORRECTION,
    LATE,
    QUOTE,
    QUOTES,
    REJECTED,
    TRADE,
    TRADES,
)
from market.tape import APPLIED, AWAITING, NO_EFFECT, UNKNOWN_TRADE, Part, Tape
from market.watermark import ACCEPTED, FUTURE, Judged, Lateness, Watermarks
from market.watermark import LATE as TOO_LATE

_RAW_CHARACTERS: Final = 4_096
_REASONS: Final = {UNKNOWN_TRADE: "unknown_trade", NO_EFFECT: "no_effect"}
_COMPLAINTS: Final = {
    "unknown_trade": "it did not come, came late, or is older than the allowed lateness",
    "no_effect": "it was busted before, or has these terms, or newer ones",
}


@dataclass(slots=True)
class AdmissionKernel:
    """Split ticks into accepted trades and quotes, late rows and rejected rows.

    Shape: ARRIVALS -> `trades`, `quotes`, `late`, `rejected`, each in arrival order; clock and state rows go nowhere.
        Every other row comes out exactly once. A bust or correction that applies is a row of `trades` with its flag.
    State: the watermark of each venue and at most one held row a venue; market.tape.Tape.
    """

    lateness: Lateness = field(default_factory=Lateness)
    _marks: Watermarks = field(init=False)
    _tape: Tape = field(init=False)

    def __post_init__(self) -> None:
        self._marks, self._tape = Watermarks(self.lateness), Tape(self.lateness)

    def on_batch(self, arrivals: pa.RecordBatch) -> Outputs:
        return _joined(_split(part) for part in self._tape.follow(self._marks.judge(arrivals)))

    def on_time(self, now_ns: int) -> Outputs:  # noqa: ARG002 - the protocol's signature
        return {}

    def next_wake_ns(self) -> int | None:
        return None

    def on_eof(self) -> Outputs:
        settled = self._marks.finish()
        last = [] if settled is None else [_split(part) for part in self._tape.follow(settled)]
        return _joined([*last, *({"rejected": _refused(row, "unknown_trade")} for row in self._tape.finish())])

    def on_history_lost(self) -> None:
        pass  # a row is judged against the rows that came; older ones could only have made more of them late

    def snapshot(self) -> object:
        return self._marks.snapshot(), self._tape.snapshot()

    def restore(self, state: object) -> None:
        saved: tuple[object, object] = state  # type: ignore[assignment]
        self._marks.restore(saved[0])
        self._tape.restore(saved[1])

    def held_rows(self) -> int:
        """Rows that came and have not come out yet."""
        return self._marks.held_rows() + self._tape.held_rows()

    def watermark(self, venue: str) -> int:
        """The venue's watermark, ns UTC; market.watermark.NO_WATERMARK before its first row."""
        return self._marks.watermark(venue)


def _split(part: Part) -> Outputs:
    judged, rows = part.judged, part.judged.rows
    if part.fate is not None:
        return _decided(rows, part.fate)
    kind = values(rows.column("kind"))
    accepted = judged.verdict == ACCEPTED
    outputs = {
        "trades": rows.select(TRADES.names).filter(pa.array(accepted & (kind == TRADE))),
        "quotes": rows.select(QUOTES.names).filter(pa.array(accepted & (kind == QUOTE))),
    }
    if not accepted.all():
        outputs["late"] = _late(judged, judged.verdict == TOO_LATE)
        outputs["rejected"] = _from_the_future(judged, (judged.verdict == FUTURE) & (kind != CLOCK))
    return outputs


def _decided(row: pa.RecordBatch, fate: int) -> Outputs:
    """One bust or correction: a row of `trades` with its flag, or a ledger row; nothing yet while it is held."""
    if fate != APPLIED:
        return {} if fate == AWAITING else {"rejected": _refused(row, _REASONS[fate])}
    flag = FLAG_BUST if values(row.column("kind"))[0] == BUST else FLAG_CORRECTION
    trade = row.select(TRADES.names)
    flags = pa.array(values(row.column("flags")) | np.int32(flag))
    return {"trades": trade.set_column(TRADES.get_field_index("flags"), TRADES.field("flags"), flags)}


def _joined(outputs: Iterable[Outputs]) -> Outputs:
    """The outputs of parts one after the other, per name, without what is empty."""
    found: dict[str, list[pa.RecordBatch]] = {}
    for output in outputs:
        for name, batch in output.items():
            if batch.num_rows:
                found.setdefault(name, []).append(batch)
    return {name: concat_batches(batches) for name, batches in found.items()}


def _late(judged: Judged, which: npt.NDArray[np.bool_]) -> pa.RecordBatch:
    mask = pa.array(which)
    rows = judged.rows.filter(mask)
    columns: dict[str, Any] = {name: rows.column(name) for name in LATE.names if name != "watermark"}
    columns["source"] = columns["source"].cast(pa.utf8())
    columns["watermark"] = pa.array(judged.watermark[which])
    return pa.RecordBatch.from_arrays([columns[name] for name in LATE.names], schema=LATE)


def _from_the_future(judged: Judged, which: npt.NDArray[np.bool_]) -> pa.RecordBatch:
    """Ledger rows for stamps that ran ahead."""
    rows = judged.rows.filter(pa.array(which))
    details = []
    for ts_event, known_at in zip(rows.column("ts_event").to_pylist(), judged.known_at[which].tolist(), strict=True):
        ahead = (ts_event - known_at) / 1e9
        reason = f"{ahead:.3f} s ahead of ts_recv" if ahead else "far ahead of the rows around it"
        details.append(f"ts_event {ts_event} is {reason}")
    return _rejected(rows, "future_stamp", details)


def _refused(row: pa.RecordBatch, reason: str) -> pa.RecordBatch:
    kind = "bust" if values(row.column("kind"))[0] == BUST else "correction"
    trade = f"{kind} of trade {row.column('trade_id')[0].as_py()!r} of {row.column('instrument')[0].as_py()}"
    return _rejected(row, reason, [f"{trade}: {_COMPLAINTS[reason]}"])


def _rejected(rows: pa.RecordBatch, reason: str, details: list[str]) -> pa.RecordBatch:
    """Ledger rows; they are few, so their text is built row by row."""
    raws = [str({k: v for k, v in row.items() if v is not None})[:_RAW_CHARACTERS] for row in rows.to_pylist()]
    return pa.RecordBatch.from_arrays(
        [
            rows.column("venue").cast(pa.utf8()),
            rows.column("instrument").cast(pa.utf8()),
            rows.column("ts_recv"),
            pa.repeat(pa.scalar(reason), rows.num_rows),
            pa.array(details, pa.utf8()),
            pa.array(raws, pa.utf8()),
            pc.cast(rows.column("source"), pa.utf8()),
            rows.column("source_offset"),
            rows.column("source_row"),
        ],
        schema=REJECTED,
    )
