"""The ground truth of a run on disk: what scenarios did, and how much every venue said of every instrument.

`acts.jsonl` grows by a line per act as it begins: what, venue, instrument (null: the whole venue), from, to (ns as
text; null: for ever), size. `counts-<run>.json` is replaced at each write: by venue and instrument the trades,
corrections, busts, books, states and settlements since the start of the run, and what the wire did to them; `told` is
what went onto the wire, where one message stands for several events; `lost` how many trades, corrections and busts did
not get through, where a message holds many and none is repeated.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from feeds_simulator.faults import Faults
from feeds_simulator.stage import Record, Stage


class TruthFolder:
    """Writes for several venues of one process. `write` at least once a second, and at the end."""

    def __init__(self, folder: Path, run: str, stages: Mapping[str, tuple[Stage, Faults]]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._acts, self._counts = folder / "acts.jsonl", folder / f"counts-{run}.json"
        self._stages = stages

    def write(self, now_ns: int) -> None:
        """Add the acts since the last write, and replace the counts."""
        records = [record for stage, _ in self._stages.values() for record in _taken(stage)]
        if records:
            with self._acts.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(record) + "\n" for record in records)
        counts = {"ts": str(now_ns), "venues": {venue: _counts(*parts) for venue, parts in self._stages.items()}}
        partial = self._counts.with_name(self._counts.name + ".partial")
        partial.write_text(json.dumps(counts), encoding="utf-8")
        os.replace(partial, self._counts)


def _taken(stage: Stage) -> Sequence[Record]:
    records, stage.truth = stage.truth, []
    return records


def _counts(stage: Stage, faults: Faults) -> Record:
    instruments: dict[str, dict[str, int]] = {}
    for (symbol, what), count in sorted(stage.said.items()):
        instruments.setdefault(stage.listings[symbol].key, {})[what] = count
    counts: Record = {"instruments": instruments, "wire": dict(faults.done)}
    if stage.told is not None:
        counts["told"] = stage.told()
    if stage.lost is not None:
        counts["lost"] = stage.lost()
    return counts
