"""A session with Bloomberg's SDK: subscriptions, images, what was lost. A state machine without clock or I/O.

Events of the SDK go in (`receive`), commands for it come out (`commands`), rows go into a FeedOutput. Everything is
routed by correlation id, never by topic. Nothing is numbered and nothing is replayed, so what was lost is a gap until
a new image is there. `positions()` says no `session`, because none can be resumed; it carries the last number and
the open gaps to the next process.
Source: blpapi documentation, python 3.26, and the state machine of subscriptions in Core Developer Guide 1.6.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

from connectors.bloomberg import codec
from connectors.bloomberg.codec import Decoder
from connectors.bloomberg.config import BloombergConfig
from connectors.bloomberg.constants import (
    CONFLATE_NS,
    DATALOSS,
    FEED,
    FIELDS,
    IMAGE_TIMEOUT_NS,
    INITPAINT,
    NEWS_TOPIC,
    RETRY_CAP_NS,
    RETRY_NS,
    SECOND_NS,
    TIMEOUT,
)
from connectors.bloomberg.ledger import Gap, Ledger, OpenGaps
from connectors.bloomberg.symbols import instrument_of, security_of
from connectors.bloomberg.watched import Phase, Rows, Watched
from connectors.errors import DecodeError
from connectors.feed import Positions
from connectors.ticks import FeedOutput
from market.instruments import InstrumentMaster

SUBSCRIBE: Final = "subscribe"
RESUBSCRIBE: Final = "resubscribe"
UNSUBSCRIBE: Final = "unsubscribe"

ALL: Final = "ticks"
"""The channel of a gap that is not of one security."""
SLOW: Final = "quotes"
"""The channel of a gap in which only quotes were conflated."""
NEWS_KEY: Final = 0
_NEWS_KEPT: Final = 1_000
_DAY_NS: Final = 86_400 * SECOND_NS


class Command(NamedTuple):
    """What the SDK is to be asked."""

    kind: str
    key: int
    topic: str
    fields: tuple[str, ...] = FIELDS


class Session:
    """One feed, over as many sessions of the SDK as it takes.

    State: a Watched a security; the ids of the last headlines.
    Delivery: each update once while connected; a row in `gaps` for each time in which something may be missing.
    """

    def __init__(
        self,
        config: BloombergConfig,
        output: FeedOutput,
        resume: Positions | None = None,
        decoder: Decoder | None = None,
    ) -> None:
        self._config, self._output, self._decoder = config, output, decoder or Decoder()
        self.counters: Counter[str] = Counter()
        self._ledger = Ledger(output)
        last_seq = int((resume or {}).get("seq", 0))
        self._rows = Rows(output, self._ledger, self.counters, last_seq)
        self._gaps = OpenGaps(self._ledger, (resume or {}).get("gaps", "[]"))
        self._restarted_from = last_seq
        self.watched: dict[int, Watched] = {}
        self._master = InstrumentMaster.load()
        self._last_key = NEWS_KEY
        self._commands: list[Command] = []
        self.lost: str | None = None
        self._open = self._connected = False
        self._opened_ns = 0
        self._day = -1
        self._slow: Gap | None = None
        self._conflated_before = 0
        self._release_ns = 0
        self._stories: dict[str, None] = {}
        self._handlers: dict[type, Callable[[Any, int], None]] = {
            codec.Update: self._update,
            codec.Story: self._story,
            codec.Started: self._started,
            codec.Ended: self._ended,
            codec.Streams: self._streams,
            codec.Lost: self._lost_messages,
            codec.Slow: self._slow_consumer,
            codec.Notice: self._notice,
        }

    # ---- positions

    def positions(self) -> dict[str, int | str]:
        """Return where the rows stand, for the next process."""
        positions: dict[str, int | str] = {"seq": self._rows.last_seq}
        gaps = [*self._gaps, *(watched.gap for watched in self.watched.values() if watched.gap is not None)]
        if self._slow is not None:
            gaps.append(self._slow)
        if gaps:
            positions["gaps"] = orjson.dumps([gap.fields() for gap in gaps]).decode()
        return positions

    # ---- events of the transport

    def on_open(self, now_ns: int) -> None:
        """The SDK's session has started and its services are open: subscribe everything, for it knows nothing."""
        self._open = self._connected = True
        self._opened_ns = now_ns
        self.lost = None
        self.watched.clear()
        if self._restarted_from:
            self._gap_since(self._restarted_from, "restart", now_ns)
            self._restarted_from = 0
        self._ledger.venue("RESYNC", "images awaited", now_ns)
        self._enlist(now_ns)
        if self._config.news:
            self._commands.append(Command(SUBSCRIBE, NEWS_KEY, NEWS_TOPIC, ()))

    def on_close(self, code: int | None, now_ns: int, reason: str) -> None:
        """The SDK's session is over, or did not start."""
        del code
        if self._open:
            self._disconnect(reason, now_ns)
        self._open = self._connected = False
        self._commands.clear()
        self._ledger.venue("STALE", self.lost or reason, now_ns)

    def receive(self, event: Any, now_ns: int) -> None:
        """Take one event of the SDK. `now_ns` becomes ts_recv of its rows."""
        kind = event.eventType()
        if kind == TIMEOUT:
            return
        self.counters["events"] += 1
        for message in event:
            self.counters["messages"] += 1
            try:
                for decoded in self._decoder.decode(kind, message, now_ns):
                    self._handlers[type(decoded)](decoded, now_ns)
            except DecodeError as error:
                self.counters["malformed"] += 1
                self._ledger.rejected(None, error.reason, error.detail, message, now_ns)

    def to_send(self) -> list[bytes]:
        """Nothing: the SDK is asked with `commands`."""
        return []

    def commands(self) -> list[Command]:
        """Return what the SDK is to be asked now, in order."""
        commands, self._commands = self._commands, []
        return commands

    @property
    def min_retry_s(self) -> float:
        """Least time before the next session of the SDK."""
        return 0.0

    def next_timer_ns(self) -> int | None:
        """Return when `on_timer` has something to do; None if never."""
        deadlines = [watched.deadline_ns for watched in self.watched.values() if watched.deadline_ns is not None]
        if self._slow is not None:
            deadlines.append(self._release_ns)
        if self._open:
            deadlines.append((self._day + 1) * _DAY_NS)
        return min(deadlines, default=None)

    def on_timer(self, now_ns: int) -> None:
        """Ask again for what did not come, write what was held back, follow the contract months."""
        for watched in list(self.watched.values()):
            if watched.deadline_ns is not None and now_ns >= watched.deadline_ns:
                self._overdue(watched, now_ns)
        if self._slow is not None and now_ns >= self._release_ns:
            self._release(now_ns)
        if self._open and now_ns // _DAY_NS != self._day:
            self._enlist(now_ns)

    # ---- what is subscribed

    def _enlist(self, now_ns: int) -> None:
        self._day = now_ns // _DAY_NS
        wanted = self._config.wanted(now_ns)
        for watched in list(self.watched.values()):
            if watched.instrument not in wanted:
                self._commands.append(Command(UNSUBSCRIBE, watched.key, watched.security))
                self._close_gap(watched, now_ns, "expired")
                self._tell(watched, "CLOSED", "no longer listed", now_ns)
                del self.watched[watched.key]
        known = {watched.instrument for watched in self.watched.values()}
        for instrument in wanted:
            if instrument not in known:
                self._watch(instrument, now_ns)

    def _watch(self, instrument: str, now_ns: int) -> None:
        self._last_key += 1
        contract = self._master.resolve(instrument, datetime.fromtimestamp(now_ns // SECOND_NS, UTC).date())
        watched = Watched(
            key=self._last_key,
            security=security_of(instrument),
            instrument=instrument,
            slot=self._output.ticks.slot(contract.commodity, FEED, instrument),
        )
        self.watched[watched.key] = watched
        self._ask(watched, SUBSCRIBE, now_ns)

    def _ask(self, watched: Watched, kind: str, now_ns: int) -> None:
        watched.phase = Phase.ASKED if kind == SUBSCRIBE else Phase.AWAITING
        watched.deadline_ns = now_ns + IMAGE_TIMEOUT_NS
        self._commands.append(Command(kind, watched.key, watched.security))

    def _overdue(self, watched: Watched, now_ns: int) -> None:
        if watched.phase is Phase.ENDED:
            self._ask(watched, SUBSCRIBE, now_ns)
        elif watched.phase in (Phase.ASKED, Phase.AWAITING):
            self.counters["overdue_images"] += 1
            self._judge(watched, "no image in time", now_ns)
            watched.failures += 1
            watched.deadline_ns = now_ns + _retry_ns(watched.failures)
            self._commands.append(Command(RESUBSCRIBE, watched.key, watched.security))
        else:
            watched.deadline_ns = None

    # ---- status of subscriptions

    def _started(self, started: codec.Started, now_ns: int) -> None:
        watched = self.watched.get(started.key)
        for name, category, description in started.exceptions:
            self.counters[f"exception_{category}"[:40]] += 1
            detail = f"{category}: field {name}: {description}"
            self._ledger.rejected(
                None if watched is None else watched.instrument, "missing_field", detail, started, now_ns
            )
        if watched is None:
            return
        watched.delayed = started.delayed
        watched.problem = "; ".join(f"{category} {name}" for name, category, _ in started.exceptions)
        if watched.phase is Phase.ASKED:
            watched.phase = Phase.AWAITING
        self._judge(watched, watched.problem or "subscribed", now_ns)

    def _ended(self, ended: codec.Ended, now_ns: int) -> None:
        what = f"{'terminated' if ended.started else 'refused'}: {ended.category} {ended.description}".strip()
        self.counters[f"ended_{ended.category}"[:40]] += 1
        watched = self.watched.get(ended.key)
        if watched is None:
            if ended.key == NEWS_KEY:
                self._ledger.rejected(None, "unknown_instrument", f"news {what}", ended, now_ns)
            return
        if not ended.started and not watched.failures:
            detail = f"{watched.security} {what}"
            self._ledger.rejected(watched.instrument, "unknown_instrument", detail, ended, now_ns)
        if ended.started:
            self._open_gap(watched, what, now_ns)
        watched.phase = Phase.ENDED
        watched.failures += 1
        watched.deadline_ns = now_ns + _retry_ns(watched.failures)
        self._judge(watched, what, now_ns)
        self._resolve(now_ns)

    def _streams(self, streams: codec.Streams, now_ns: int) -> None:
        watched = self.watched.get(streams.key)
        if watched is None:
            return
        if streams.active:
            watched.phase, watched.deadline_ns = Phase.AWAITING, now_ns + IMAGE_TIMEOUT_NS
        else:
            if watched.phase is Phase.LIVE and self._connected:
                self._open_gap(watched, f"streams deactivated: {streams.reason}", now_ns)
            watched.phase, watched.deadline_ns = Phase.SILENT, None
        self._judge(watched, streams.reason or "streams", now_ns)

    # ---- data

    def _update(self, update: codec.Update, now_ns: int) -> None:
        watched = self.watched.get(update.key)
        if watched is None:
            self.counters["unexpected"] += 1
            return
        if update.delayed is not None:
            watched.delayed = update.delayed
        if update.subtype == DATALOSS:
            self._lose(watched, "DATALOSS", now_ns)
            return
        image = update.subtype == INITPAINT
        if image:
            watched.phase, watched.deadline_ns, watched.failures = Phase.LIVE, None, 0
            watched.top = (None, None, None, None)
        self._rows.apply(watched, update, now_ns, image=image)
        if image:
            self._close_gap(watched, now_ns, "snapshot")
        if image or "RT_SIMP_SEC_STATUS" in update.values:
            self._judge(watched, watched.problem or ("image" if image else "security status"), now_ns)
        if image:
            self._resolve(now_ns)

    def _story(self, story: codec.Story, now_ns: int) -> None:
        if story.news_id in self._stories:
            self.counters["duplicate_news"] += 1
            return
        self._stories[story.news_id] = None
        if len(self._stories) > _NEWS_KEPT:
            del self._stories[next(iter(self._stories))]
        on = datetime.fromtimestamp(now_ns // SECOND_NS, UTC).date()
        found = [instrument_of(security, on) for security in story.securities]
        self._ledger.news(story, [instrument for instrument in found if instrument], now_ns)
        self.counters["news"] += 1

    # ---- what was lost

    def _lost_messages(self, lost: codec.Lost, now_ns: int) -> None:
        self.counters["dropped_by_sdk"] += lost.messages
        for watched in self._those(lost.key):
            self._lose(watched, f"DataLoss of {lost.messages} messages", now_ns)

    def _those(self, key: int | None) -> Iterable[Watched]:
        if key is None:
            return list(self.watched.values())
        return [self.watched[key]] if key in self.watched else []

    def _lose(self, watched: Watched, reason: str, now_ns: int) -> None:
        self.counters["losses"] += 1
        if watched.phase is Phase.ENDED or not self._connected:
            return  # the end of the subscription, or of the connection, is a gap already
        self._open_gap(watched, reason, now_ns)  # before its first image too: its trades count from the beginning
        if watched.phase is Phase.LIVE:  # else an image is on its way, or nothing can be asked
            self._ask(watched, RESUBSCRIBE, now_ns)
        self._judge(watched, reason, now_ns)

    def _open_gap(self, watched: Watched, reason: str, now_ns: int) -> None:
        if watched.gap is None:
            seq_from = max(self._rows.last_seq + 1, self._opened_ns)
            watched.gap = self._gap(watched.security, seq_from, seq_from, reason, now_ns)

    def _close_gap(self, watched: Watched, now_ns: int, resolution: str) -> None:
        if watched.gap is not None:
            gap, watched.gap = watched.gap, None
            gap.seq_to = max(gap.seq_from, self._rows.last_seq)
            self._ledger.gap(gap, now_ns, resolution)

    def _gap(self, channel: str, seq_from: int, seq_to: int, reason: str, now_ns: int) -> Gap:
        gap = Gap(channel=channel, seq_from=seq_from, seq_to=seq_to, ts_detected=now_ns, reason=reason)
        self._ledger.gap(gap)
        return gap

    def _gap_since(self, last_seq: int, reason: str, now_ns: int) -> None:
        seq_from = last_seq + 1
        seq_to = max(seq_from, self._rows.next_seq(now_ns))
        gap = Gap(channel=ALL, seq_from=seq_from, seq_to=seq_to, ts_detected=now_ns, reason=reason)
        self._gaps.open(gap, now_ns)

    # All images are there (of what can be had): nothing that came before counts any more.
    def _resolve(self, now_ns: int) -> None:
        phases = {watched.phase for watched in self.watched.values()}
        if Phase.LIVE not in phases or not phases <= {Phase.LIVE, Phase.ENDED}:
            return
        self._gaps.resolve(self._rows.last_seq, now_ns)
        self._ledger.venue("LIVE", "images received", now_ns)

    def _disconnect(self, reason: str, now_ns: int) -> None:
        if not self._connected:
            return
        self._connected = False
        self._release(now_ns)
        if self._rows.last_seq:
            self._gap_since(self._rows.last_seq, f"connection lost: {reason}", now_ns)
        for watched in self.watched.values():
            self._close_gap(watched, now_ns, "superseded")
            if watched.phase is not Phase.ENDED:
                watched.phase, watched.deadline_ns = Phase.SILENT, None
                self._judge(watched, "connection lost", now_ns)
        self._ledger.venue("STALE", reason, now_ns)

    # ---- the session and its queue

    def _notice(self, notice: codec.Notice, now_ns: int) -> None:
        self.counters[notice.name[:40]] += 1
        if notice.name == "SessionConnectionDown":
            self._disconnect(notice.text or "connection down", now_ns)
        elif notice.name == "SessionConnectionUp":
            if self._open and not self._connected:
                self._connected = True
                self._ledger.venue("RESYNC", "reconnected, images awaited", now_ns)
        elif notice.name in ("SessionTerminated", "SessionStartupFailure"):
            self.lost = f"{notice.name}: {notice.text}"
        elif notice.name in ("ServiceOpenFailure", "ServiceDown"):
            self._ledger.rejected(None, "unsupported_message", f"{notice.name}: {notice.text}", notice, now_ns)

    def _slow_consumer(self, slow: codec.Slow, now_ns: int) -> None:
        self.counters["slow_consumer_warnings"] += slow.slow
        if slow.slow and self._slow is None:
            self._conflated_before = self.counters["conflated"]
            self._slow = self._gap(SLOW, self._rows.last_seq + 1, self._rows.last_seq + 1, "slow consumer", now_ns)
            self._rows.slow, self._release_ns = True, now_ns + CONFLATE_NS
        elif not slow.slow and self._slow is not None:
            self._release(now_ns)
            gap, self._slow, self._rows.slow = self._slow, None, False
            gap.seq_to = max(gap.seq_from, self._rows.last_seq)
            gap.reason = f"slow consumer: {self.counters['conflated'] - self._conflated_before} quotes conflated"
            self._ledger.gap(gap, now_ns, "conflated")

    def _release(self, now_ns: int) -> None:
        self._release_ns = now_ns + CONFLATE_NS
        for watched in self.watched.values():
            self._rows.release(watched, now_ns)

    # ---- quality

    def _judge(self, watched: Watched, reason: str, now_ns: int) -> None:
        self._tell(watched, watched.judge(), reason, now_ns)

    def _tell(self, watched: Watched, quality: str, reason: str, now_ns: int) -> None:
        if quality != watched.quality:
            watched.quality = quality
            self._ledger.instrument(watched.instrument, quality, reason, now_ns)
            self._output.ticks.state(watched.slot, now_ns, now_ns, quality)


def _retry_ns(failures: int) -> int:
    return min(RETRY_CAP_NS, RETRY_NS << min(failures - 1, 20))
