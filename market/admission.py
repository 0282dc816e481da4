"""The admission kernel: which rows go straight through, and which into the ledger instead.

It judges rows with the same watermark as every other kernel of the shard, so all agree on what was late.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from market.columns import values
from market.kernel import Outputs
from market.schemas import CLOCK, LATE, QUOTE, QUOTES, REJECTED, TRADE, TRADES
from market.watermark import ACCEPTED, FUTURE, Judged, Lateness, Watermarks
from market.watermark import LATE as TOO_LATE

_RAW_CHARACTERS: Final = 4_096


@dataclass(slots=True)
class AdmissionKernel:
    """Split ticks into accepted trades and quotes, late rows and rejected rows.

    Shape: ARRIVALS -> `trades`, `quotes`, `late`, `rejected`, each in arrival order; clock rows go nowhere.
        Every trade and quote row comes out exactly once.
    State: the watermark of each venue and at most one held row a venue.
    """

    lateness: Lateness = field(default_factory=Lateness)
    _marks: Watermarks = field(init=False)

    def __post_init__(self) -> None:
        self._marks = Watermarks(self.lateness)

    def on_batch(self, arrivals: pa.RecordBatch) -> Outputs:
        return self._split(self._marks.judge(arrivals))

    def on_time(self, now_ns: int) -> Outputs:  # noqa: ARG002 - the protocol's signature
        return {}

    def next_wake_ns(self) -> int | None:
        return None

    def on_eof(self) -> Outputs:
        settled = self._marks.finish()
        return {} if settled is None else self._split(settled)

    def on_history_lost(self) -> None:
        pass  # a row is judged against the rows that came; older ones could only have made more of them late

    def snapshot(self) -> object:
        return self._marks.snapshot()

    def restore(self, state: object) -> None:
        self._marks.restore(state)

    def watermark(self, venue: str) -> int:
        """The venue's watermark, ns UTC; market.watermark.NO_WATERMARK before its first row."""
        return self._marks.watermark(venue)

    def _split(self, judged: Judged) -> Outputs:
        kind = values(judged.rows.column("kind"))
        accepted = judged.verdict == ACCEPTED
        outputs = {
            "trades": judged.rows.select(TRADES.names).filter(pa.array(accepted & (kind == TRADE))),
            "quotes": judged.rows.select(QUOTES.names).filter(pa.array(accepted & (kind == QUOTE))),
        }
        if not accepted.all():
            outputs["late"] = _late(judged, judged.verdict == TOO_LATE)
            outputs["rejected"] = _from_the_future(judged, (judged.verdict == FUTURE) & (kind != CLOCK))
        return {name: batch for name, batch in outputs.items() if batch.num_rows}


def _late(judged: Judged, which: npt.NDArray[np.bool_]) -> pa.RecordBatch:
    mask = pa.array(which)
    rows = judged.rows.filter(mask)
    columns: dict[str, Any] = {name: rows.column(name) for name in LATE.names if name != "watermark"}
    columns["source"] = columns["source"].cast(pa.utf8())
    columns["watermark"] = pa.array(judged.watermark[which])
    return pa.RecordBatch.from_arrays([columns[name] for name in LATE.names], schema=LATE)


def _from_the_future(judged: Judged, which: npt.NDArray[np.bool_]) -> pa.RecordBatch:
    """Ledger rows for stamps that ran ahead; they are few, so their text is built row by row."""
    rows = judged.rows.filter(pa.array(which))
    details, raws = [], []
    for row, known_at in zip(rows.to_pylist(), judged.known_at[which].tolist(), strict=True):
        ahead = (row["ts_event"] - known_at) / 1e9
        reason = f"{ahead:.3f} s ahead of ts_recv" if ahead else "far ahead of the rows around it"
        details.append(f"ts_event {row['ts_event']} is {reason}")
        raws.append(str({k: v for k, v in row.items() if v is not None})[:_RAW_CHARACTERS])
    return pa.RecordBatch.from_arrays(
        [
            rows.column("venue").cast(pa.utf8()),
            rows.column("instrument").cast(pa.utf8()),
            rows.column("ts_recv"),
            pa.repeat(pa.scalar("future_stamp"), rows.num_rows),
            pa.array(details, pa.utf8()),
            pa.array(raws, pa.utf8()),
            pc.cast(rows.column("source"), pa.utf8()),
            rows.column("source_offset"),
            rows.column("source_row"),
        ],
        schema=REJECTED,
    )
