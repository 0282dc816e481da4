"""Reconcile a run of `mandi demo`: what the simulated venues said of each instrument against what both stores hold.

`python -m tests.acceptance.reconcile --scenario NAME ... [--rate R] [--duration S] [--speed X]` runs a demo for each
scenario (`all`: every one by name, and none) and prints a table. The exit code is 1 if a row is missing that nothing
explains.

Said: trades, corrections and busts by the simulator's truth (of MCX, the packets that told a trade). Held: the rows of
`trades` in each store. Aside: rows of `late`, and of `rejected` out of the log, that name the instrument. What is then
still missing must lie in gaps of the venue that were not repeated; where it numbers nothing, in one of the instrument
or of the whole connection. The gap of ingest's own end explains nothing: by then the venues had long said their last.
A message of Bloomberg holds what was said in a turn, so messages do not bound rows: a gap of an instrument explains as
many as were, by the simulator's truth, in the messages that were dropped.
A packet of MCX tells the day's volume: what a lost one told is in the row of the next one, which is then of two trades.
So rows of MCX may be fewer where the lots told and held of the contract are the same, and lots that differ need a gap.
A bust that the wire doubled, of a venue that numbers nothing, is said once and aside once: the second had no effect.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Protocol

from feeds_simulator.bloomberg.securities import security_of
from feeds_simulator.scenarios import SCENARIOS
from mandi.settings import load
from mandi.stores import Stores, open_stores
from market.schemas import QUOTE
from tests.acceptance.command import environment
from tests.acceptance.stores import BothStores

_SAID: Final = ("trades", "corrections", "busts")
_FEED_OF_GAPS: Final = {"ICE": "ice", "XIMC": "mcx", "CME": "cme", "BBG": "bloomberg"}
_NUMBERED: Final = {"ice", "cme"}
_SAY_NO_TRADE: Final = {"book", "status"}  # channels of ICE: what is missing there is no trade
_WHOLE: Final = "ticks"  # the channel of a gap that is of no single instrument
_STOPPED: Final = "stopped"  # how the reason of the last gap ends
_ANY: Final = 10**9
REFUSED_BY: Final = "mcx/"  # a feed that refuses trades by their price before the log, and names the instrument
REJECTED_TRADES: Final = (
    f"((source LIKE 'market.prices.%' AND raw NOT LIKE '%''kind'': {QUOTE},%') OR source LIKE '{REFUSED_BY}%')"
)
NO_EFFECT: Final = "reason = 'no_effect'"
_TIMEOUT_S: Final = 240.0
NO_SCENARIO: Final = "none"
SETTLE_S: Final = 12.0  # longer than the longest delay between two connections


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """An instrument: what the venue said, and where it is. `missing` below 0: there are rows that nobody said."""

    feed: str
    instrument: str
    said: int
    held: int
    aside: int
    repeated: int = 0
    """Of those aside: busts and corrections that had no effect."""
    lots_said: int | None = None
    """None: the venue's packets do not tell a day's volume."""
    lots_held: Decimal = Decimal(0)
    struck: int | None = None
    """Of those said: what the wire lost. None: the simulator does not tell by instrument."""

    @property
    def missing(self) -> int:
        return self.said - self.held - self.aside

    @property
    def lots_agree(self) -> bool | None:
        """Whether the lots held are those told; None: nobody can say, for what is aside has lots too."""
        return None if self.lots_said is None or self.aside else self.lots_held == self.lots_said


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """A run. `lost` counts by feed the numbers of gaps that no repetition closed, `reasons` says which gaps."""

    lines: Sequence[Line]
    wire: Mapping[str, Mapping[str, int]]
    lost: Mapping[str, int]
    reasons: Mapping[str, Sequence[str]]
    aside: Mapping[str, int]
    """Rows of `late` and `rejected` by reason."""
    channels: Mapping[str, frozenset[str]]
    """What the gaps of `lost` are of, by feed."""

    def unexplained(self) -> list[Line]:
        """Lines with a difference that no gap of their feed owns up to; rows that were merged are none."""
        missing: Counter[str] = Counter()
        for line in self.lines:
            missing[line.feed] += 0 if line.lots_agree else max(0, line.missing)
        return [
            line
            for line in self.lines
            if line.missing < -self._doubled(line)
            or (
                (line.lots_agree is False or (line.missing > 0 and not line.lots_agree))
                and not (self._is_owned(line) and self._is_enough(line, missing[line.feed]))
            )
        ]

    def _doubled(self, line: Line) -> int:
        """At most so many rows of an instrument are aside because they came twice."""
        return min(line.repeated, self.wire.get(line.feed, {}).get("duplicated", 0))

    def _is_enough(self, line: Line, missing_of_feed: int) -> bool:
        if line.struck is None:
            return missing_of_feed <= self.lost.get(line.feed, 0)
        return line.missing <= line.struck or _WHOLE in self.channels[line.feed]

    def _is_owned(self, line: Line) -> bool:
        names = {line.instrument, _WHOLE}
        if line.feed == "bloomberg":
            names.add(security_of(line.instrument))
        return line.feed in _NUMBERED or bool(names & self.channels.get(line.feed, frozenset()))


class Tables(Protocol):
    """What `reconcile` asks of the stores."""

    def grouped(self, table: str, by: str, where: str = "1 = 1") -> list[tuple[str, int]]: ...

    def count(self, table: str) -> int: ...

    def lots(self) -> list[tuple[str, Decimal]]: ...

    def gaps(self) -> list[tuple[Any, ...]]: ...


def reconcile(data_dir: Path, stores: Tables) -> Reconciliation:
    """Compare a data directory whose demo has ended, clean, with its stores."""
    counts = [json.loads(path.read_text()) for path in (data_dir / "truth").glob("counts-*.json")]
    said: Counter[tuple[str, str]] = Counter()
    lots_said: Counter[str] = Counter()
    wire: dict[str, Counter[str]] = {}
    struck: dict[str, Counter[str]] = {}
    for venues in (run["venues"] for run in counts):
        for feed, told in venues.items():
            wire.setdefault(feed, Counter()).update(told["wire"])
            if "lost" in told:
                struck.setdefault(feed, Counter()).update(told["lost"])
            for instrument, events in told["instruments"].items():
                if "told" in told:
                    events = told["told"].get(instrument, {})
                    lots_said[instrument] += events.get("lots", 0)
                said[feed, instrument] += sum(events.get(what, 0) for what in _SAID)
    held = Counter(dict(stores.grouped("trades", "instrument")))
    lots_held = dict(stores.lots())
    aside = _aside(stores)
    repeated = Counter(dict(stores.grouped("rejected", "instrument", NO_EFFECT)))
    feed_of = {instrument: feed for feed, instrument in said}
    keys = sorted(said.keys() | {(feed_of.get(name, "?"), name) for name in held})
    lost, reasons, channels = _lost(stores, wire, struck)
    return Reconciliation(
        lines=[
            Line(
                feed=feed,
                instrument=name,
                said=said[feed, name],
                held=held[name],
                aside=aside[name],
                repeated=repeated[name],
                lots_said=lots_said.get(name),
                lots_held=lots_held.get(name, Decimal(0)),
                struck=struck[feed][name] if feed in struck else None,
            )
            for feed, name in keys
        ],
        wire=wire,
        lost=lost,
        reasons=reasons,
        channels={feed: frozenset(names) for feed, names in channels.items()},
        aside={**dict(stores.grouped("rejected", "reason")), "late": stores.count("late")},
    )


def _aside(stores: Tables) -> Counter[str]:
    found = Counter(dict(stores.grouped("late", "instrument", "kind <> 1")))
    found.update(dict(stores.grouped("rejected", "instrument", REJECTED_TRADES)))
    return found


def _lost(
    stores: Tables, wire: Mapping[str, Mapping[str, int]], struck: Mapping[str, Mapping[str, int]]
) -> tuple[Mapping[str, int], Mapping[str, Sequence[str]], Mapping[str, set[str]]]:
    # A gap explains as many rows as it has numbers that did not come again. Where its numbers are times, it cannot say
    # how many: there the wire's own count is the most that may be missing, unless it was cut or mute.
    lost: Counter[str] = Counter()
    reasons: dict[str, list[str]] = {}
    channels: dict[str, set[str]] = {}
    for venue, channel, seq_from, seq_to, resolution, recovered, reason in stores.gaps():
        if resolution == "replay" or reason.endswith(_STOPPED) or channel in _SAY_NO_TRADE:
            continue
        feed = _FEED_OF_GAPS[venue]
        if feed in _NUMBERED:
            lost[feed] += max(0, seq_to - seq_from + 1 - recovered)
        elif feed in struck:
            lost[feed] = max(lost[feed], _ANY if channel == _WHOLE else sum(struck[feed].values()))
        else:
            lost[feed] += _most_lost(wire[feed])
        channels.setdefault(feed, set()).add(channel)
        reasons.setdefault(feed, []).append(f"{reason} {seq_from}..{seq_to} {resolution or 'open'} +{recovered}")
    return lost, reasons, channels


def _most_lost(struck: Mapping[str, int]) -> int:
    return sum(struck.values()) if struck and struck.keys() <= {"dropped", "garbled"} else _ANY


def demo(
    data_dir: Path,
    *,
    scenario: str,
    rate: float,
    duration_s: float,
    settle_s: float = SETTLE_S,
    speed: float = 1.0,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run `mandi demo`; return its last line. Raises: CalledProcessError with what it wrote in its output."""
    words = ["demo", "--duration", f"{duration_s:g}s", "--settle", f"{settle_s:g}s", "--rate", f"{rate:g}"]
    words += ["--port", "0", "--data-dir", str(data_dir), "--speed", f"{speed:g}"]
    if scenario != NO_SCENARIO:
        words += ["--scenario", scenario]
    done = subprocess.run(
        [sys.executable, "-m", "mandi", *words],
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S + duration_s,
        check=True,
    )
    return done.stdout.strip().splitlines()[-1]


def both(stores: Stores) -> BothStores:
    return BothStores(stores.timescale, stores.clickhouse)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", nargs="*", default=[NO_SCENARIO], help="names, `none`, or `all`")
    parser.add_argument("--rate", type=float, default=400.0)
    parser.add_argument("--duration", type=float, default=30.0, help="seconds")
    parser.add_argument(
        "--speed", type=float, default=1.0, help="market seconds a second; the rate is of market seconds"
    )
    parser.add_argument("--settle", type=float, default=SETTLE_S, help="seconds")
    parser.add_argument("--data-dir", type=Path, help="keep what was written here, in a folder a scenario")
    parser.add_argument("--verbose", action="store_true", help="every instrument, not only those that differ")
    options = parser.parse_args(words)
    names = [NO_SCENARIO, *SCENARIOS] if options.scenario == ["all"] else options.scenario
    print("scenario           said     held    aside  missing   gaps own  unexplained", flush=True)
    good = [_one(name, options) for name in names]
    return 0 if all(good) else 1


def _one(name: str, options: argparse.Namespace) -> bool:
    with tempfile.TemporaryDirectory(prefix="reconcile-") as scratch:
        data_dir = (options.data_dir or Path(scratch)) / name.replace(",", "+")
        try:
            demo(
                data_dir,
                scenario=name,
                rate=options.rate,
                duration_s=options.duration,
                settle_s=options.settle,
                speed=options.speed,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            print(f"{name:16} failed: {str(error.stderr)[-2_000:]}", flush=True)
            return False
        with open_stores(load(data_dir, {})) as stores:
            found = reconcile(data_dir, both(stores))
    printed(name, found, options.verbose)
    return not found.unexplained()


def printed(name: str, found: Reconciliation, verbose: bool) -> None:
    feeds = sorted({line.feed for line in found.lines})
    totals = [sum(getattr(line, what) for line in found.lines) for what in ("said", "held", "aside", "missing")]
    owned = "; ".join(f"{feed} {_shown(found.lost[feed])}" for feed in feeds if feed in found.lost) or "-"
    said, held, aside, missing = totals
    print(f"{name:14} {said:8} {held:8} {aside:8} {missing:8}   {owned}   {len(found.unexplained())}", flush=True)
    struck = {feed: dict(done) for feed, done in found.wire.items() if done}
    for what, told in (("wire", struck), ("aside", found.aside), ("gaps", found.reasons)):
        if told:
            print(f"    {what}: {json.dumps(told)[:1_500]}", flush=True)
    for line in found.lines:
        if verbose or line.missing or line.lots_agree is False or line.struck:
            lots = (
                "" if line.lots_said is None else f"; lots: {line.lots_said} said, {line.lots_held.normalize():f} held"
            )
            lots = f"; {line.struck} lost on the wire" if line.struck is not None else lots
            print(f"    {line.instrument:20} {line.said} said, {line.held} held, {line.aside} aside{lots}", flush=True)


def _shown(lost: int) -> str:
    return str(lost) if lost < _ANY else "some"


if __name__ == "__main__":
    sys.exit(main())
