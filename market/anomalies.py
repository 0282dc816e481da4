"""The anomaly kernel: what is odd about each instrument of a commodity, since when, and who else saw it.

Every second of the arrival clock is a step (market.steps). Detectors score it, and learn it only if they found it usual
(market.detectors); findings become episodes with a beginning and an end (market.episodes); other venues are the
witness of a move (market.witness). A step counts within the session of its instrument, and while its venue says that
it trades. A silence is judged when something shows that time has passed: a row, or `on_time` where none comes.

What is said of a step is said with the first row behind it, so a second late at most.
"""

import json
import pickle
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

import pyarrow as pa

from market import schemas
from market.detectors.book import CrossedDetector, SpreadDetector
from market.detectors.feed import Pace
from market.detectors.limits import LimitDetector, price_limits
from market.detectors.price import PriceDetector
from market.detectors.protocol import (
    CROSSED_BOOK,
    FAT_FINGER,
    NS_PER_S,
    PRICE_LIMIT,
    RETURN_SPIKE,
    SCALE_ERROR,
    STALE_FEED,
    STEP_NS,
    Detector,
    Finding,
    Step,
)
from market.detectors.volume import VolumeDetector
from market.episodes import BAD_TICK, DATA_ERRORS, FX_MOVE, POLICY_STEP, REAL_MOVE, UNCONFIRMED, Episode
from market.instruments import InstrumentMaster, venue_of
from market.kernel import Outputs
from market.reference import Reference
from market.schemas import ANOMALIES, QUALITIES
from market.steps import NEVER, Part, Said, Steps
from market.watch import FORGOTTEN_NS, LIVE, session_at
from market.watch import NEVER as NEVER_AGAIN
from market.watermark import Judged, Lateness, Watermarks
from market.witness import GRACE_S, Path, Rates, judge_move

USDINR: Final = "BBG:USDINR:SPOT"
_ARRIVAL_NS: Final = 2 * NS_PER_S
"""How far behind the market clock `on_time` stays: rows may be on their way."""

_FRESH_NS: Final = 5 * NS_PER_S
_LIMIT_MOVE_NS: Final = 60 * NS_PER_S
_TOGETHER_S: Final = 20
_RESTLESS_S: Final = 60
"""Whatever is under way when the last row came is known after so many steps: who else is fresh, an end, a witness."""
_SCORE_MOST: Final = 10**6
_POLICY_BPS: Final = 300
"""A basis that jumps as far and stays, with a quiet market abroad, is a duty that changed."""

_OF_PRICE: Final = frozenset({RETURN_SPIKE, SCALE_ERROR, FAT_FINGER, PRICE_LIMIT})
_SPEAKS: Final = frozenset(QUALITIES.index(name) for name in ("LIVE", "DELAYED"))


@dataclass(slots=True)
class Watched:
    """One instrument: what it learnt, and its last two sides."""

    name: str
    venue: str
    in_rupees: bool
    detectors: tuple[Detector, ...]
    window: tuple[int, int]
    fresh_ns: int = NEVER
    state: int = LIVE
    quoted: bool = False
    bid: int | None = None
    ask: int | None = None
    pace: Pace = field(default_factory=Pace)
    path: Path = field(default_factory=Path)

    def opens_by(self, at_ns: int) -> bool:
        """Whether its calendar has it open; a session that begins is told to the detectors."""
        if at_ns >= self.window[1]:
            self.window = session_at(self.name, at_ns)
            for detector in self.detectors:
                detector.reopen()
            self.pace.last_s = None
        return self.window[0] <= at_ns

    @property
    def forgotten_ns(self) -> int:
        """When it is given up; whoever has never said anything is not."""
        return NEVER_AGAIN if self.fresh_ns == NEVER else self.fresh_ns + FORGOTTEN_NS

    def falls_due(self) -> Iterable[int]:
        """When time alone may change something, with nobody about who says anything."""
        yield self.forgotten_ns
        yield from (edge + 1 for edge in self.window)
        if self.pace.last_s is not None:
            yield (self.pace.last_s + 1 + self.pace.limit_s(alone=True)) * STEP_NS

    @property
    def bears_duty(self) -> bool:
        return self.in_rupees and _bears_duty(InstrumentMaster.load().commodity_of(self.name))

    @property
    def crossed(self) -> bool:
        return self.bid is not None and self.ask is not None and self.bid > self.ask


@dataclass(slots=True)
class AnomalyKernel:
    """Find anomalies in one shard.

    Shape: ARRIVALS -> `anomalies`: 0..n rows of market.schemas.ANOMALIES, in order of `as_known_at`: one as an anomaly
        opens, the same `anomaly_id` again when its witness is known and when it ends.
    State: about 10 kB an instrument that had a row within ten days, half an hour of USDINR, the open episodes.
    """

    lateness: Lateness = field(default_factory=Lateness)
    rates: frozenset[str] = frozenset({USDINR})
    """Instruments of another shard that are here for their rate alone."""
    generic: Callable[[], Detector] | None = None
    """Makes a detector for what no rule has a name for, one an instrument."""
    _marks: Watermarks = field(init=False)
    _fx: Rates = field(init=False)
    _now: int = NEVER
    _second: int | None = None  # the step that is being filled
    _stated: dict[str, int] = field(default_factory=dict)  # by venue
    _watched: dict[str, Watched] = field(default_factory=dict)
    _filling: dict[str, Step] = field(default_factory=dict)
    _episodes: dict[tuple[str, str], Episode] = field(default_factory=dict)
    _told: dict[str, Episode] = field(default_factory=dict)
    _rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._marks, self._fx = Watermarks(self.lateness), Rates(self.rates)

    # --- the Kernel protocol --------------------------------------------------------------------

    def on_batch(self, arrivals: pa.RecordBatch) -> Outputs:
        return self._watch(self._marks.judge(self._fx.take(arrivals)))

    def on_time(self, now_ns: int) -> Outputs:
        second = (now_ns - _ARRIVAL_NS) // STEP_NS
        if self._second is not None and second > self._second:
            self._now = max(self._now, second * STEP_NS)
            self._go_to(second)
        return self._flush()

    def next_wake_ns(self) -> int | None:
        return None if self._second is None else (self._second + 1) * STEP_NS + _ARRIVAL_NS

    def on_eof(self) -> Outputs:
        settled = self._marks.finish()
        if settled is not None:
            self._watch_rows(settled)
        if self._second is not None:
            at_ns = (self._second + 1) * STEP_NS
            self._close_step()
            for episode in list(self._episodes.values()):
                self._end(episode, "end of the input", at_ns)
            self._tell(at_ns)
            self._second = None
        return self._flush()

    def on_history_lost(self) -> None:
        pass  # what was not seen was not learnt

    def snapshot(self) -> object:
        learnt = (
            self._now, self._second, self._stated, self._watched, self._filling, self._episodes, self._fx.snapshot()
        )  # fmt: skip
        return self._marks.snapshot(), pickle.dumps(learnt)

    def restore(self, state: object) -> None:
        saved: tuple[object, bytes] = state  # type: ignore[assignment]
        marks, learnt = saved
        self._marks.restore(marks)
        (self._now, self._second, self._stated, self._watched, self._filling, self._episodes, fx) = pickle.loads(learnt)
        self._fx.restore(fx)

    # --- steps ----------------------------------------------------------------------------------

    def _watch(self, judged: Judged) -> Outputs:
        self._watch_rows(judged)
        return self._flush()

    def _watch_rows(self, judged: Judged) -> None:
        if not judged.rows.num_rows:
            return
        steps = Steps(judged, self._now)
        for part in steps.parts():
            self._go_to(part.second)
            for said in steps.states(part):
                self._hear(said)
            if part.name is not None:
                self._fold(steps, part, part.name)
        self._now = steps.now

    def _hear(self, said: Said) -> None:
        if said.instrument is None:
            self._stated[said.venue] = said.state
        elif said.instrument in self._watched:
            self._watched[said.instrument].state = said.state

    def _fold(self, steps: Steps, part: Part, name: str) -> None:
        watched = self._watched.get(name) or self._first_seen(name, part.second * STEP_NS)
        step = self._filling.get(name) or Step(
            at_ns=(part.second + 1) * STEP_NS, quoted=watched.quoted, bid=watched.bid, ask=watched.ask
        )
        if steps.fold(part, step) or step.busted:
            self._filling[name] = step

    def _first_seen(self, name: str, at_ns: int) -> Watched:
        on = datetime.fromtimestamp(at_ns // NS_PER_S, UTC).date()
        contract = InstrumentMaster.load().resolve(name, on)
        tick, bands = contract.tick_fixed, price_limits().get((contract.mic, contract.root))
        found: list[Detector] = [PriceDetector(tick), CrossedDetector(tick), SpreadDetector(tick), VolumeDetector()]
        found += [] if bands is None else [LimitDetector(bands)]
        found += [] if self.generic is None else [self.generic()]
        watched = Watched(name, venue_of(name), contract.currency == "INR", tuple(found), session_at(name, at_ns))
        self._watched[name] = watched
        return watched

    def _go_to(self, second: int) -> None:
        """Close the step that is open if time has passed it, and those after it, in which nothing came."""
        if self._second is not None and second > self._second:
            self._close_step()
            looked = self._second + 1
            while looked < second:
                looked = min(second, self._next_look(looked))
                self._look(looked * STEP_NS)
        self._second = second if self._second is None else max(self._second, second)

    def _close_step(self) -> None:
        assert self._second is not None
        at_ns = (self._second + 1) * STEP_NS
        filled, self._filling = self._filling, {}
        for name in sorted(filled):
            self._judge(self._watched[name], filled[name])
        self._look(at_ns, filled)

    def _look(self, at_ns: int, filled: Collection[str] = ()) -> None:
        """The end of a step: what has ended, who has been silent for too long, what is known by now."""
        for (name, _), episode in self._episodes.items():
            if name not in filled and not episode.rule.stays and episode.kind != STALE_FEED:
                episode.clear(at_ns)
        for name in [name for name, watched in self._watched.items() if watched.forgotten_ns <= at_ns]:
            del self._watched[name]
        self._look_for_silence(at_ns)
        self._settle(at_ns)

    def _next_look(self, looked: int) -> int:
        """The next second whose end may change something, if nothing comes.

        As if every second were looked at, without the work: what a silence comes to must not depend on whether a clock
        asked all the time or the next row came days later.
        """
        assert self._second is not None
        if looked < self._second + _RESTLESS_S:
            return looked + 1
        due = [ns for watched in self._watched.values() for ns in watched.falls_due()]
        due += [ns for each in self._episodes.values() for ns in (each.due_ns(), each.accept_ns()) if ns is not None]
        # And the second before each: a silence that something ends is as long as it was by then.
        seconds = {-(-ns // STEP_NS) - before for ns in due for before in (0, 1)}
        return min((at for at in seconds if at > looked), default=NEVER_AGAIN)

    def _judge(self, watched: Watched, step: Step) -> None:
        watched.quoted, watched.bid, watched.ask = step.quoted, step.bid, step.ask
        trades = watched.opens_by(step.at_ns - 1) and self._speaks(watched)
        for trade_id in step.busted:
            self._busted(watched.name, trade_id)
        if step.trades or step.quotes:
            watched.fresh_ns = step.at_ns
            watched.pace.came(step.at_ns // NS_PER_S - 1, learn=(watched.name, STALE_FEED) not in self._episodes)
        found = self._score(watched, step) if trades else {}
        for finding in found.values():
            self._found(watched, finding, step.at_ns)
        price = step.price
        if price is not None and SCALE_ERROR not in found:
            watched.path.add(step.at_ns, price)
        for (name, kind), episode in self._episodes.items():
            if name == watched.name and kind not in found and kind != STALE_FEED:
                episode.clear(step.at_ns)

    def _speaks(self, watched: Watched) -> bool:
        return watched.state in _SPEAKS and self._stated.get(watched.venue, LIVE) in _SPEAKS

    @staticmethod
    def _score(watched: Watched, step: Step) -> dict[str, Finding]:
        scored = [(detector, detector.score(step)) for detector in watched.detectors]
        bad = any(finding is not None and finding.kind in DATA_ERRORS for _, finding in scored)
        for detector, finding in scored:
            if finding is None and not bad:
                detector.learn(step)
            else:
                detector.skip(step)
        return {finding.kind: finding for _, finding in scored if finding is not None}

    # --- episodes -------------------------------------------------------------------------------

    def _found(self, watched: Watched, finding: Finding, at_ns: int) -> None:
        key = (watched.name, finding.kind)
        if key not in self._episodes:
            self._episodes[key] = Episode(
                instrument=watched.name,
                venue=watched.venue,
                began_ns=finding.ts_event,
                began_at_ns=at_ns,
                worst=finding,
                last_ns=at_ns,
            )
        self._episodes[key].seen(finding, at_ns)

    def _busted(self, name: str, trade_id: str) -> None:
        for kind in (FAT_FINGER, SCALE_ERROR):
            episode = self._episodes.get((name, kind))
            if episode is not None and episode.worst.trade_id == trade_id:
                self._label(episode, BAD_TICK, {**episode.witnessed, "busted": True}, settled=True)
                self._told[episode.anomaly_id] = episode

    def _look_for_silence(self, at_ns: int) -> None:
        for watched in self._watched.values():
            key = (watched.name, STALE_FEED)
            others = self._others(watched, at_ns)
            silent_s = watched.pace.silent_s(at_ns)
            limit_s = watched.pace.limit_s(alone=not others)
            if not watched.opens_by(at_ns - 1) or not self._speaks(watched) or silent_s < limit_s:
                if key in self._episodes:
                    self._episodes[key].clear(at_ns)
                continue
            assert watched.pace.last_s is not None
            mean_s = watched.pace.mean_ms / 1_000
            finding = Finding(
                kind=STALE_FEED, score=silent_s / limit_s, value=silent_s * NS_PER_S,
                expected=watched.pace.mean_ms * 1_000_000, ts_event=(watched.pace.last_s + 1) * NS_PER_S,
                evidence={"mean_interval_s": round(mean_s, 3), "limit_s": limit_s, "others": [o.name for o in others]},
            )  # fmt: skip
            self._found(watched, finding, at_ns)

    def _settle(self, at_ns: int) -> None:
        """Open what has lasted, label it, end what is over, and tell what changed."""
        for episode in list(self._episodes.values()):
            if not episode.opened:
                if episode.clear_ns is not None:
                    self._end(episode, "", at_ns)
                    continue
                if at_ns - episode.began_at_ns < episode.rule.opens_s * NS_PER_S:
                    continue
                episode.opened = True
                self._told[episode.anomaly_id] = episode
            if not episode.settled:
                self._witness(episode, at_ns)
            self._end_if_due(episode, at_ns)
        self._tell(at_ns)

    def _end_if_due(self, episode: Episode, at_ns: int) -> None:
        watched, due_ns = self._watched.get(episode.instrument), episode.due_ns()
        if due_ns is not None and due_ns <= at_ns:
            self._end(episode, "over", episode.clear_ns or at_ns)
        elif watched is None or at_ns - 1 >= watched.window[1] or at_ns - 1 < watched.window[0]:
            self._end(episode, "the session ended", at_ns)
        elif episode.clear_ns is None and at_ns >= episode.accept_ns():
            for detector in watched.detectors:
                step = Step(at_ns=at_ns, quoted=watched.quoted, bid=watched.bid, ask=watched.ask)
                step.last = watched.path.at(at_ns)
                if episode.kind in (RETURN_SPIKE, SCALE_ERROR) or not isinstance(detector, PriceDetector):
                    detector.accept(step)
            self._end(episode, "it is the new usual", at_ns)

    def _end(self, episode: Episode, why: str, at_ns: int) -> None:
        del self._episodes[episode.instrument, episode.kind]
        if not episode.opened:
            return
        episode.ended, episode.ts_end = why, at_ns
        if why == "it is the new usual" and episode.kind == RETURN_SPIKE and episode.witness == BAD_TICK:
            label = POLICY_STEP if self._is_policy(episode) else UNCONFIRMED
            self._label(episode, label, {**episode.witnessed, "stayed": True}, settled=True)
        self._told[episode.anomaly_id] = episode

    # --- witnesses ------------------------------------------------------------------------------

    def _others(self, watched: Watched, at_ns: int) -> list[Watched]:
        """Instruments of other venues that are open and just said something."""
        return [
            other
            for other in self._watched.values()
            if other.venue != watched.venue and at_ns - other.fresh_ns <= _FRESH_NS and other.window[0] < at_ns
        ]

    def _witness(self, episode: Episode, at_ns: int) -> None:
        watched = self._watched[episode.instrument]
        others = self._others(watched, at_ns)
        waited = at_ns - episode.began_at_ns >= GRACE_S * NS_PER_S
        kind, worst = episode.kind, episode.worst
        if worst.evidence.get("quotes_stayed"):
            self._label(episode, BAD_TICK, {"own_quotes": "stayed"}, settled=True)
        elif kind == STALE_FEED:
            self._label(episode, BAD_TICK if others else UNCONFIRMED, {}, settled=bool(others))
        elif kind == CROSSED_BOOK:
            sound = [other.name for other in others if not other.crossed]
            self._label(episode, BAD_TICK if sound else UNCONFIRMED, {"sound": sound}, settled=True)
        elif worst.value is not None and kind in _OF_PRICE:
            base = worst.base or watched.path.since(at_ns - _LIMIT_MOVE_NS)
            label, evidence, _ = judge_move(watched, base, worst.value, others, self._fx, at_ns)
            if label == BAD_TICK and watched.bears_duty and self._limited_together(watched):
                label = POLICY_STEP
            known = label in (REAL_MOVE, FX_MOVE)
            self._label(episode, label if waited or known else UNCONFIRMED, evidence, settled=waited or known)
        else:
            too = [other.name for other in others if (other.name, kind) in self._episodes]
            late = at_ns - episode.began_at_ns >= _TOGETHER_S * NS_PER_S
            self._label(episode, REAL_MOVE if too else UNCONFIRMED, {"too": too}, settled=bool(too) or late)

    def _is_policy(self, episode: Episode) -> bool:
        """Whether a move that only this venue made, and that stayed, is a duty's."""
        watched = self._watched.get(episode.instrument)
        return watched is not None and watched.bears_duty and abs(episode.witnessed["move_bps"]) >= _POLICY_BPS

    def _limited_together(self, watched: Watched) -> bool:
        """Whether it is at its limit with others of its venue: a wrong price is one contract's."""
        at_limit = [
            each for each in self._episodes.values() if each.kind == PRICE_LIMIT and each.venue == watched.venue
        ]
        return len(at_limit) > 1 and any(each.instrument == watched.name for each in at_limit)

    def _label(self, episode: Episode, label: str, evidence: dict[str, Any], *, settled: bool) -> None:
        if label != episode.witness or (settled and not episode.settled):
            self._told[episode.anomaly_id] = episode
        episode.witness, episode.witnessed, episode.settled = label, evidence, settled

    # --- rows -----------------------------------------------------------------------------------

    def _tell(self, at_ns: int) -> None:
        told, self._told = self._told, {}
        for anomaly_id, episode in told.items():
            worst = episode.worst
            detail: dict[str, object] = {**worst.evidence, "witness": episode.witnessed}
            if worst.trade_id is not None:
                detail["trade_id"] = worst.trade_id
            if episode.ended:
                detail["ended"] = episode.ended
            self._rows.append(
                {
                    "anomaly_id": anomaly_id,
                    "venue": episode.venue,
                    "instrument": episode.instrument,
                    "ts_event": episode.began_ns,
                    "ts_end": episode.ts_end,
                    "kind": episode.kind,
                    "severity": episode.severity,
                    "score": round(min(worst.score, _SCORE_MOST) * NS_PER_S),
                    "value": _within(worst.value),
                    "expected": _within(worst.expected),
                    "witness": episode.witness,
                    "detail": json.dumps(detail, separators=(",", ":"), sort_keys=True),
                    "as_known_at": at_ns,
                }
            )

    def _flush(self) -> Outputs:
        rows, self._rows = self._rows, []
        return {"anomalies": pa.RecordBatch.from_pylist(rows, schema=ANOMALIES)} if rows else {}


def _within(number: int | None) -> int | None:
    return None if number is None else max(1 - schemas.PRICE_LIMIT, min(number, schemas.PRICE_LIMIT - 1))


@cache
def _bears_duty(commodity: str) -> bool:
    return any(name.startswith(f"{commodity}/") for name in Reference.load().duties.names)
