"""Nothing disappears, checked while it runs: what a flow judged against what came of it.

Rows in = trades and quotes out + late + rejected + held, at the end of every batch, since this process started. Another
sum is a defect of ours and never the market's; docs/runbook.md says what to keep.
"""

from collections import defaultdict
from typing import Final

import pyarrow as pa

from market.admission import AdmissionKernel
from market.kernel import Outputs
from market.watermark import Lateness, counted_rows
from pipelines import metrics

_balances: Final[dict[str, list["BalancedAdmission"]]] = defaultdict(list)  # by consumer: one of each shard


class BalancedAdmission:
    """The admission kernel of one shard, with its balance on Prometheus; a market.kernel.Kernel."""

    def __init__(self, consumer: str, lateness: Lateness) -> None:
        self._kernel = AdmissionKernel(lateness)
        self._consumer = consumer
        self._due = 0  # rows that came and did not come out, those held included
        _balances[consumer].append(self)

    def on_batch(self, arrivals: pa.RecordBatch) -> Outputs:
        outputs = self._kernel.on_batch(arrivals)
        self._settle(counted_rows(arrivals), outputs)
        return outputs

    def on_time(self, now_ns: int) -> Outputs:
        return self._kernel.on_time(now_ns)

    def on_eof(self) -> Outputs:
        outputs = self._kernel.on_eof()
        self._settle(0, outputs)
        return outputs

    def next_wake_ns(self) -> int | None:
        return self._kernel.next_wake_ns()

    def on_history_lost(self) -> None:
        self._kernel.on_history_lost()

    def snapshot(self) -> object:
        return self._kernel.snapshot()

    def restore(self, state: object) -> None:
        self._kernel.restore(state)
        self._due = self._kernel.held_rows()
        metrics.JUDGED_ROWS.labels(self._consumer, "rows_in").inc(self._due)  # they come out in this process

    def held_rows(self) -> int:
        return self._kernel.held_rows()

    def unaccounted(self) -> int:
        """Rows that are nowhere, or (as many) in two places."""
        return abs(self._due - self._kernel.held_rows())

    def _settle(self, came: int, outputs: Outputs) -> None:
        self._due += came - sum(batch.num_rows for batch in outputs.values())
        metrics.JUDGED_ROWS.labels(self._consumer, "rows_in").inc(came)
        for name, batch in outputs.items():
            outcome = name if name in metrics.OUTCOMES else "rows_out"
            metrics.JUDGED_ROWS.labels(self._consumer, outcome).inc(batch.num_rows)
        held = sum(each.held_rows() for each in _balances[self._consumer])
        metrics.HELD_ROWS.labels(self._consumer).set(held)
        missing = sum(each.unaccounted() for each in _balances[self._consumer])
        metrics.UNACCOUNTED_ROWS.labels(self._consumer).set(missing)
