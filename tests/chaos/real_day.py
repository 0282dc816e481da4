"""A recorded day as a log grows by it: the lines in some order of arrival, then the quiet that closes every bar.

Appends like tests.chaos.market.Market, and tells the oracle of every row.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
from arrivals import batch
from reference import SECOND, Row

from connectors.replay import ReplayFile
from market import topics
from market.records import LogWriter, TopicPartition
from market.schemas import TICKS
from tests.acceptance.files import FileOracle, Line

ROWS_A_RECORD = 400
QUIET_S = 4 * 86_400  # of market time: the trade date of a Friday has ended by then
REFUSED = TopicPartition(topics.REJECTED, topics.FROM_INGEST)


class RealDay:
    """Lines by shard, in order of arrival; a row is received when the newest of those before it happened.

    Lines that no venue could send (a size of zero) are in `file` alone: what `mandi replay` refuses of it is put into
    the ledger, as ingest would.
    """

    def __init__(self, lines: Mapping[str, Sequence[Line]], file: Path | None = None) -> None:
        self._refused = [] if file is None else [each.rejected for each in ReplayFile(path=file).batches()]
        self._left = {shard: _rows(found) for shard, found in lines.items()}
        self.oracles = {shard: FileOracle() for shard in lines}
        self.refused_rows = sum(refused.num_rows for refused in self._refused if refused is not None)

    @property
    def is_over(self) -> bool:
        return not any(self._left.values())

    def append_to(self, writer: LogWriter) -> None:
        """Append the next record of each shard, and flush; nothing when the day is over."""
        for shard, left in self._left.items():
            rows, self._left[shard] = left[:ROWS_A_RECORD], left[ROWS_A_RECORD:]
            if rows:
                writer.append(topics.prices(shard), "ticks", batch(rows).select(TICKS.names), key=shard)
                for row in rows:
                    self.oracles[shard].feed(row)
        for refused in self._take_refused():
            writer.append(REFUSED, "rejected", refused)
        writer.flush()

    def expected_counts(self) -> dict[str, int]:
        """Rows by table that the stores must end up with."""
        found = self.oracles.values()
        return {
            "bars": sum(len(oracle.published) for oracle in found),
            "late": sum(len(oracle.late) for oracle in found),
            "rejected": self.refused_rows + sum(len(oracle.future) for oracle in found),
        }

    def _take_refused(self) -> list[pa.RecordBatch]:
        taken, self._refused = self._refused, []
        return [refused for refused in taken if refused is not None]


def _rows(lines: Sequence[Line]) -> list[Row]:
    rows, now = list[Row](), 0
    for number, line in enumerate(lines):
        if line.is_good:
            price, size = (int(Decimal(text).scaleb(9)) for text in (line.price, line.size))
            # A stamp far ahead is a wrong stamp, and no sign that so much time has passed.
            now = line.ts if now == 0 else max(now, line.ts) if line.ts < now + 3_600 * SECOND else now
            venue = line.instrument.split(":")[0]
            rows.append(Row("trade", venue, line.instrument, line.ts, now, price, size, number, int(line.seq)))
    end = now + QUIET_S * SECOND
    return [*rows, Row("clock", rows[-1].venue, None, end, end, name=len(lines))]
