"""Rows in, sequenced updates out to every client that asked: streams, subscriptions, resume, duplicates.

No I/O and no clock of its own; `now` is the market's. Rows come in log order and are numbered per stream. What
a client receives of a stream is: an image (or the missed updates), then updates whose numbers rise by one,
except where `skipped` or a `gap` says otherwise.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway import protocol
from gateway.auth import EVERYTHING, Grant
from gateway.client import ClientQueue, Feed
from gateway.errors import RequestError
from gateway.metrics import Counts
from gateway.protocol import Matcher, RequestId, Since, Subscribe, text_frame
from gateway.rows import Row, json_text
from gateway.stream import RING_BYTES, RING_UPDATES, Stream, StreamKey

MAX_SUBSCRIPTIONS: Final = 128
RINGS_BYTES: Final = 64 * 1024 * 1024
"""What all rings together may hold."""


@dataclass(slots=True, eq=False)
class Subscription:
    request: Subscribe
    queue: ClientQueue
    matcher: Matcher
    grant: Grant

    def covers(self, stream: Stream) -> bool:
        key = stream.key
        return (
            key.channel == self.request.channel
            and key.interval == self.request.interval
            and self.matcher.covers(key.instrument)
            and self.grant.has_venues(stream.venues)
            and self.grant.owns(key.user)
        )

    def follows(self, instrument: str) -> bool:
        return self.matcher.covers(instrument) and self.grant.sees(instrument)


class Hub:
    """All live state of the gateway.

    State: per stream an image and a ring (RING_BYTES at most, RINGS_BYTES together); per (client, stream) a Feed.
    Delivery: rows are at-least-once from the log; bars written again are recognised and suppressed.
    """

    def __init__(
        self,
        *,
        epoch: str,
        now: Callable[[], int],
        counts: Counts,
        rings_bytes: int = RINGS_BYTES,
        anonymous: Grant = EVERYTHING,
    ) -> None:
        self.epoch = epoch
        self.anonymous = anonymous
        """What who needs no token may see."""
        self.primed = False
        self._now = now
        self.counts = counts
        self._rings_bytes = rings_bytes
        self._ring_total_bytes = 0
        self.ordinal = 0  # of the newest update of any stream
        self._streams: dict[StreamKey, Stream] = {}
        self._subscriptions: dict[ClientQueue, dict[RequestId, Subscription]] = {}
        self._grants: dict[ClientQueue, Grant] = {}

    @property
    def streams(self) -> Iterable[Stream]:
        return self._streams.values()

    def sent(self) -> Counter[str]:
        """Return how many updates left to clients, by channel."""
        total = self.counts.sent.copy()
        for stream in self._streams.values():
            total[stream.key.channel] += sum(feed.sent for feed in stream.feeds.values())
        return total

    # Rows from the log

    def prime(self, topic: str, rows: Sequence[Row]) -> None:
        """Build the image from the log's tail: nothing is numbered or sent."""
        for row in rows:
            stream = self._stream(topic, row)
            stream.absorb(self._qualified(stream, row))

    def finish_prime(self) -> None:
        """The image is complete: send it to who subscribed meanwhile."""
        self.primed = True
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions.values():
                self._attach_matching(subscription)

    def publish(self, topic: str, rows: Sequence[Row]) -> None:
        """Number live rows and send them on."""
        for row in rows:
            self._publish(topic, row)

    def lose(self, topic: str, reason: str) -> None:
        """Rows of a topic are gone for an unknown number of updates: tell every client that follows it."""
        self.ordinal += 1
        for stream in self._streams.values():
            if stream.topic == topic:
                stream.seq += 1
                self._ring_total_bytes -= stream.trim(0, 0)
                stream.trimmed_ordinal = self.ordinal
                frame = text_frame(protocol.gap_message(stream.head, stream.seq, stream.seq, reason))
                for queue, feed in stream.feeds.items():
                    queue.position(feed, frame, stream.seq)

    def _publish(self, topic: str, row: Row) -> None:
        stream = self._stream(topic, row)
        row = self._qualified(stream, row)
        first = stream.image is None
        if not stream.absorb(row):
            self.counts.suppressed += 1
            return
        if first:
            self._attach_waiting(stream)
        ts_out = self._now()
        self.ordinal += 1
        update = stream.next_update(row, ts_out, self.ordinal)
        self.counts.observe(row.channel, row.ts_recv, ts_out)
        for queue, feed in stream.feeds.items():
            queue.offer(feed, update)
        self._keep_rings_bounded(stream, len(update.frame))
        if row.quality:
            self._tell_status(row)

    def _stream(self, topic: str, row: Row) -> Stream:
        key = StreamKey(row.channel, row.instrument, row.interval, row.user)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = Stream(key, topic)
        if row.other_venue and row.other_venue not in stream.venues:
            self._widen(stream, row.other_venue)
        return stream

    def _widen(self, stream: Stream, venue: str) -> None:
        # From now on the stream carries data of one more venue: who may not see that may not follow it.
        stream.venues |= {venue}
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions.values():
                if not subscription.grant.has_venue(venue):
                    self._detach_from(subscription, stream)

    def _qualified(self, stream: Stream, row: Row) -> Row:
        # A gap row carries the venue's last known quality: by itself it changes none (status rows do).
        if row.channel != "status" or row.quality:
            return row
        quality = stream.image.quality if stream.image is not None and stream.image.quality else "GAP"
        return replace(row, data=row.data[:-1] + f',"quality":{json_text(quality)}}}'.encode())

    def _keep_rings_bounded(self, stream: Stream, added_bytes: int) -> None:
        self._ring_total_bytes += added_bytes - stream.trim(RING_UPDATES, RING_BYTES)
        if self._ring_total_bytes > self._rings_bytes:
            # Down to nine tenths of a fair share each, so that this comes once per tenth of the budget.
            share = self._rings_bytes * 9 // 10 // len(self._streams)
            self._ring_total_bytes -= sum(each.trim(RING_UPDATES, share) for each in self._streams.values())

    def _tell_status(self, row: Row) -> None:
        frame = self._status_frame(row)
        for queue, subscriptions in self._subscriptions.items():
            wants = (s.request.channel != "status" and s.follows(row.instrument) for s in subscriptions.values())
            if any(wants):
                queue.control(frame)

    def _status_frame(self, row: Row) -> bytes:
        return text_frame(protocol.status_message(row.instrument, row.venue, row.ts_event, row.quality, row.reason))

    # Clients

    def join(self, queue: ClientQueue, grant: Grant | None = None) -> None:
        """Begin with a client; without a grant it may see what anonymous ones may."""
        self._subscriptions[queue] = {}
        self._grants[queue] = self.anonymous if grant is None else grant

    def leave(self, queue: ClientQueue) -> None:
        """Forget a client whose connection ended."""
        self._grants.pop(queue, None)
        for subscription in self._subscriptions.pop(queue, {}).values():
            self._detach(subscription)

    def subscribe(self, queue: ClientQueue, request: Subscribe) -> None:
        """Answer `subscribed`, then images or missed updates, then follow.

        Raises: RequestError with code bad_request (id in use), too_many_subscriptions or not_entitled.
        """
        mine = self._subscriptions[queue]
        if request.id in mine:
            raise RequestError("bad_request", "a subscription with this id exists", request.id)
        if len(mine) >= MAX_SUBSCRIPTIONS:
            text = f"a connection may have {MAX_SUBSCRIPTIONS} subscriptions"
            raise RequestError("too_many_subscriptions", text, request.id)
        grant = self._grants[queue]
        if refusal := grant.refusal(request.channel, request.instruments):
            raise RequestError("not_entitled", refusal, request.id)
        subscription = Subscription(request, queue, Matcher(request.instruments), grant)
        mine[request.id] = subscription
        queue.control(text_frame(self._subscribed(subscription)))
        if self.primed:
            self._attach_matching(subscription)

    def unsubscribe(self, queue: ClientQueue, request_id: RequestId) -> None:
        """End a subscription and answer `unsubscribed`.

        Raises: RequestError with code unknown_subscription.
        """
        subscription = self._subscriptions[queue].pop(request_id, None)
        if subscription is None:
            raise RequestError("unknown_subscription", "no subscription with this id", request_id)
        self._detach(subscription)
        queue.control(text_frame(protocol.message("unsubscribed", id=request_id)))

    def regrant(self, queue: ClientQueue, grant: Grant) -> None:
        """Take what a new token grants: what it no longer does ends, what it newly does begins with an image."""
        self._grants[queue] = grant
        for request_id, subscription in list(self._subscriptions[queue].items()):
            request = subscription.request
            if refusal := grant.refusal(request.channel, request.instruments):
                self._detach(subscription)
                del self._subscriptions[queue][request_id]
                error = RequestError("not_entitled", refusal, request_id)
                queue.control(text_frame(protocol.error_message(error)))
                continue
            before, subscription.grant = subscription.grant, grant
            for stream in self._streams.values():
                self._move(subscription, stream, replace(subscription, grant=before))

    def _move(self, subscription: Subscription, stream: Stream, before: Subscription) -> None:
        had, has = before.covers(stream), subscription.covers(stream)
        if had and not has:
            self._detach_from(subscription, stream)
        elif has and not had and self.primed and stream.image is not None:
            self._attach(subscription, stream, None, alone=False)

    def _subscribed(self, subscription: Subscription) -> bytes:
        request = subscription.request
        exact = {pattern for pattern in request.instruments if "*" not in pattern}
        known = {stream.key.instrument for stream in self._streams.values() if subscription.covers(stream)}
        members: dict[str, object] = {"id": request.id, "channel": request.channel}
        if request.interval:
            members["interval"] = request.interval
        members |= {"instruments": sorted(exact | known), "conflate_ms": request.conflate_ms}
        return protocol.message("subscribed", **members)

    def _attach_matching(self, subscription: Subscription) -> None:
        matching = [s for s in self._streams.values() if s.image is not None and subscription.covers(s)]
        since = subscription.request.since
        for stream in matching:
            self._attach(subscription, stream, since, alone=len(matching) == 1)
        if subscription.request.channel != "status":
            self._tell_bad_states(subscription)

    def _tell_bad_states(self, subscription: Subscription) -> None:
        # Who starts to follow a stale instrument learns it at once, not at the next change.
        for stream in self._streams.values():
            row = stream.image
            bad = row is not None and row.quality not in ("", "LIVE")
            if row is not None and bad and subscription.follows(row.instrument):
                subscription.queue.control(self._status_frame(row))

    def _attach_waiting(self, stream: Stream) -> None:
        # Announced by an image numbered 0 that holds the first row; the row then follows as update 1, so that
        # counting updates counts every row.
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions.values():
                if self.primed and subscription.covers(stream):
                    self._attach(subscription, stream, None, alone=False)

    def _attach(self, subscription: Subscription, stream: Stream, since: Since | None, *, alone: bool) -> None:
        queue, request = subscription.queue, subscription.request
        feed = stream.feeds.get(queue)
        fresh = feed is None
        if feed is None:
            feed = stream.feeds[queue] = Feed(stream)
        feed.join(request.id, request.conflate_ms)
        seq = self._since_seq(since, stream, alone)
        if since is not None and seq is not None:
            reason = self._resume(queue, feed, since, seq) if fresh else "already_subscribed"
            if not reason:
                return
            self._gap(queue, feed, seq, reason)
        self._snapshot(queue, feed)

    def _resume(self, queue: ClientQueue, feed: Feed, since: Since, seq: int) -> str:
        """Queue what was missed after `seq`; return why that cannot be, else nothing."""
        if since.epoch != self.epoch:
            return "epoch_changed"
        if seq == _AMBIGUOUS:
            return "ambiguous_since"
        if seq > feed.stream.seq:
            return "unknown_seq"
        missed = feed.stream.missed_since(seq)
        if missed is None:
            return "too_old"
        if not queue.has_room(sum(len(update.frame) for update in missed)):
            return "too_many_missed"
        feed.last_seq = seq
        if since.ordinal is not None and missed and seq == 0:
            # The client may have connected before there was such a stream: it has no image.
            queue.position(feed, feed.stream.announcement_frame(missed[0], self._now()), 0)
        queue.replay(feed, missed)
        return ""

    def _since_seq(self, since: Since | None, stream: Stream, alone: bool) -> int | None:
        # Where the client was in `stream`: None for never, _AMBIGUOUS if one number is for several streams.
        if since is None:
            return None
        if since.ordinal is not None:
            return stream.seq + 1 if since.ordinal > self.ordinal else stream.seq_at(since.ordinal)
        if isinstance(since.seq, int):
            return since.seq if alone else _AMBIGUOUS
        return since.seq.get(stream.key.instrument)

    def _gap(self, queue: ClientQueue, feed: Feed, seq: int, reason: str) -> None:
        stream = feed.stream
        first = 1 if reason in ("epoch_changed", "ambiguous_since", "unknown_seq") else seq + 1
        frame = text_frame(protocol.gap_message(stream.head, first, stream.seq, reason))
        queue.position(feed, frame, stream.seq)

    def _snapshot(self, queue: ClientQueue, feed: Feed) -> None:
        frame = feed.stream.snapshot_frame(self._now(), feed.stream.seq)
        if frame is not None:
            queue.position(feed, frame, feed.stream.seq)

    def _detach(self, subscription: Subscription) -> None:
        for stream in self._streams.values():
            if subscription.covers(stream):
                self._detach_from(subscription, stream)

    def _detach_from(self, subscription: Subscription, stream: Stream) -> None:
        queue = subscription.queue
        feed = stream.feeds.get(queue)
        if feed is None:
            return
        feed.leave(subscription.request.id)
        if feed.closed:
            queue.forget(feed)
            self.counts.sent[stream.key.channel] += feed.sent
            del stream.feeds[queue]


_AMBIGUOUS: Final = -1
