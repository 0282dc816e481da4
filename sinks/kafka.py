"""Write the log on Apache Kafka. The newest writer of a topic-partition is the only one.

`append` buffers in memory, `flush` returns when the brokers have acknowledged everything, which makes it visible and,
as far as the topic's replication goes, durable. While no broker answers, `flush` blocks and tries again, with growing
pauses; memory holds what one flush holds. A record is never dropped: it is acknowledged, or the writer fails for good.

**Taking over.** A new writer of a partition that has records first repeats the newest one without its rows (an event as
it is, with `repeats` in its meta). That record carries the new epoch, so from there on the broker refuses the writer
before it; and it came last, so nothing can lie behind the `last_record` that the new writer goes on from. Where the
newest record was written under another id, it is repeated under that one first (sinks/kafka_producer.py).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypeVar

import kafka
import kafka.admin
import kafka.errors
from kafka.protocol.consumer import OffsetSpec

from market.kafka_away import AWAY, METADATA_MS, connected, never_make_topics
from market.kafka_log import MAX_RECORD_BYTES, KafkaLog, insist, message_record
from market.records import (
    JSON_KIND,
    LogWriter,
    Patience,
    Payload,
    Record,
    TopicPartition,
    decode_frame,
    encode_frame,
    scan_frames,
)
from sinks.errors import LogWriteFailed, WriterFenced
from sinks.faults import crash_point
from sinks.kafka_producer import FencedProducer, Message
from sinks.log import require_writable
from sinks.retention import Retention

_REQUEST_BYTES: Final = 8 << 20  # of one partition; brokers take 100 MB a request unless told otherwise
_ASK_MS: Final = 5000
_READ_MS: Final = 500

T = TypeVar("T")


def open_kafka_writer(
    log: KafkaLog, retention: Retention, clock_ns: Callable[[], int], patience: Patience
) -> LogWriter:
    """Open a writer, which connects when it is first used. Topics are made then, with `retention`."""
    return _KafkaLogWriter(log, retention, clock_ns, patience)


@dataclass(slots=True)
class _Tail:
    """The end of a topic-partition that is ours. `last_frame` is empty while it has no record."""

    next_offset: int
    last_frame: bytes
    pending: list[Message] = field(default_factory=list)


class _KafkaLogWriter:
    """LogWriter on a broker."""

    def __init__(self, log: KafkaLog, retention: Retention, clock_ns: Callable[[], int], patience: Patience) -> None:
        self._log, self._retention, self._clock_ns, self._patience = log, retention, clock_ns, patience
        self._tails: dict[TopicPartition, _Tail] = {}
        self._failure: Exception | None = None
        self._closed = False

    @cached_property
    def _producer(self) -> FencedProducer:
        return FencedProducer(self._log, self._patience)

    @cached_property
    def _topics(self) -> "Topics":
        return Topics(self._log, self._retention, self._patience)

    def append(
        self,
        tp: TopicPartition,
        kind: str,
        payload: Payload,
        *,
        key: str = "",
        meta: Mapping[str, int | str] | None = None,
    ) -> int:
        """Append one record and return its offset. Readers see it after `flush`.

        Raises: WriterFenced, LogWriteFailed, LogUnavailable; ValueError if it could not be read again.
        """
        tail = self._tail(tp)
        require_writable(kind, payload)
        frame = self._frame(tail.next_offset, kind, payload, key, meta or {})
        tail.pending.append(self._message(key, frame))
        tail.last_frame = frame
        tail.next_offset += 1
        return tail.next_offset - 1

    def flush(self) -> None:
        """Return when all appended records are acknowledged by all brokers that are in sync.

        Raises: WriterFenced, LogWriteFailed; LogUnavailable if told to stop while no broker answers.
        """
        self._require_working()
        if any(tail.pending for tail in self._tails.values()):
            crash_point("log.flush.before")
            while batches := {tp: _take(tail.pending) for tp, tail in self._tails.items() if tail.pending}:
                self._send(batches)
            crash_point("log.flush.after")

    def sync(self) -> None:
        """The same as `flush`: what is acknowledged is as safe as the topic's replication makes it."""
        self.flush()

    def durable_until(self) -> float:
        """Monotonic time before which every flush is acknowledged: now."""
        return time.monotonic()

    def last_record(self, tp: TopicPartition) -> Record | None:
        """Return the newest record, flushed or not; None if there is none, or retention deleted it.

        Raises: WriterFenced, LogWriteFailed, LogUnavailable, ForeignRecord.
        """
        tail = self._tail(tp)
        return decode_frame(next(scan_frames(tail.last_frame))) if tail.last_frame else None

    def close(self) -> None:
        """Flush, and close the connections in any case."""
        if self._closed:
            return
        try:
            self.flush()
        finally:
            self._closed = True
            for part in ("_topics", "_producer"):
                if part in self.__dict__:
                    getattr(self, part).close()

    def _require_working(self) -> None:
        if self._closed:
            raise LogWriteFailed("this writer was closed")
        if self._failure is not None:
            raise LogWriteFailed(f"this writer failed before: {self._failure}") from self._failure

    def _tail(self, tp: TopicPartition) -> _Tail:
        self._require_working()
        tail = self._tails.get(tp)
        if tail is None:
            self._topics.ensure(tp)
            self._producer.claim(tp)
            tail = self._tails[tp] = self._take_over(tp)
        return tail

    def _take_over(self, tp: TopicPartition) -> _Tail:
        end, newest = self._topics.newest(tp)
        if newest is not None and (fence := self._producer.shut_out(tp, self._repeated(newest, end)[0])) is not None:
            end, newest = fence + 1, newest if fence == end else self._topics.before(tp, fence)
        while newest is not None:
            claim, frame = self._repeated(newest, end)
            written = self._producer.send({tp: [claim]})[tp]
            if written == end:
                return _Tail(end + 1, frame)
            # The writer before us was quicker, for the last time: the newest record is its own, right before our claim.
            end, newest = written + 1, self._topics.before(tp, written)
        # Nothing to repeat. A writer before us, if there is one, is shut out by our first record.
        return _Tail(end, b"")

    def _repeated(self, newest: Record, offset: int) -> tuple[Message, bytes]:
        payload, meta = newest.payload, dict(newest.meta)
        if newest.kind == JSON_KIND:
            meta["repeats"] = newest.offset
        elif newest.batch is not None:
            payload = newest.batch.slice(0, 0)
        frame = self._frame(offset, newest.kind, payload, newest.key, meta)
        return self._message(newest.key, frame), frame

    def _frame(self, offset: int, kind: str, payload: Payload, key: str, meta: Mapping[str, int | str]) -> bytes:
        record = Record(offset=offset, ts_append=self._clock_ns(), kind=kind, key=key, payload=payload, meta=meta)
        frame = encode_frame(record)
        if len(frame) > MAX_RECORD_BYTES:
            raise ValueError(f"a record of {len(frame)} bytes is too long for the log: cut smaller batches")
        return frame

    def _message(self, key: str, frame: bytes) -> Message:
        return Message(key.encode(), frame, self._clock_ns() // 1_000_000)

    def _send(self, batches: Mapping[TopicPartition, list[Message]]) -> None:
        expected = {
            tp: tail.next_offset - len(tail.pending) - len(batches[tp])
            for tp, tail in self._tails.items()
            if tp in batches
        }
        try:
            written = self._producer.send(batches)
            for tp, offset in written.items():
                if offset < expected[tp]:
                    raise LogWriteFailed(f"record {expected[tp]} of {tp} became {offset}: it was cut, or made anew")
                if offset > expected[tp]:
                    raise WriterFenced(tp, f"record {expected[tp]} became {offset}")
        except Exception as error:
            self._failure = error
            raise


class Topics:
    """Makes topics, and finds the newest record of a partition."""

    def __init__(self, log: KafkaLog, retention: Retention, patience: Patience) -> None:
        self._log, self._retention, self._patience = log, retention, patience
        client = {
            "bootstrap_servers": list(log.servers),
            "bootstrap_timeout_ms": _ASK_MS,
            "metadata_max_age_ms": METADATA_MS,
            **log.client,
        }
        self._admin = self._insist(lambda: connected(kafka.admin.KafkaAdminClient, client_id="mandi-topics", **client))
        self._consumer = self._insist(
            lambda: connected(
                kafka.KafkaConsumer,
                client_id="mandi-tails",
                enable_auto_commit=False,
                auto_offset_reset="none",
                metrics_enabled=False,
                receive_message_max_bytes=3 * MAX_RECORD_BYTES,
                **client,
            )
        )
        never_make_topics(self._consumer._manager)

    def ensure(self, tp: TopicPartition) -> None:
        """Make the topic, or its missing partitions. Raises: LogWriteFailed if the broker refuses."""
        self._insist(lambda: self._ensure(tp))

    def newest(self, tp: TopicPartition) -> tuple[int, Record | None]:
        """Return the end of a partition and its newest record; None if it holds none."""
        end, begin = self._insist(lambda: self._ends(tp))
        return end, self.before(tp, end, begin) if end > begin else None

    def before(self, tp: TopicPartition, offset: int, begin: int = 0) -> Record:
        """Return the record before an offset, which is in the log.

        A repeated one that came too late is passed over: records were written between it and the one it repeats, and a
        writer that died has left it.
        """
        found = self._insist(lambda: self._record(tp, offset - 1))
        if offset - 1 > begin and found.offset != offset - 1 and _is_repeated(found):
            return self.before(tp, offset - 1, begin)
        return found

    def close(self) -> None:
        self._consumer.close(autocommit=False)
        self._admin.close()

    def _ensure(self, tp: TopicPartition) -> None:
        name = self._log.name_of(tp.topic)
        count = max(self._log.partitions, tp.partition + 1)
        (found,) = self._admin.describe_topics([name])
        try:
            if not found["partitions"]:
                made = kafka.admin.NewTopic(name, count, self._log.replication, topic_configs=self._configs(tp.topic))
                self._admin.create_topics([made], wait_for_metadata=True)
            elif tp.partition >= len(found["partitions"]):
                self._admin.create_partitions({name: tp.partition + 1})
        except (kafka.errors.TopicAlreadyExistsError, kafka.errors.InvalidPartitionsError):
            pass  # another writer was quicker
        except AWAY:
            raise
        except kafka.errors.KafkaError as error:
            raise LogWriteFailed(f"the topic {name} cannot be made: {error}") from error

    def _configs(self, topic: str) -> dict[str, str]:
        keep = self._retention.of(topic)
        return {
            "cleanup.policy": "delete",
            "retention.ms": str(-1 if keep.max_age_s is None else int(keep.max_age_s * 1000)),
            "retention.bytes": str(-1 if keep.max_bytes is None else keep.max_bytes),
            "max.message.bytes": str(MAX_RECORD_BYTES + (1 << 20)),
            "compression.type": "producer",
        }

    def _ends(self, tp: TopicPartition) -> tuple[int, int]:
        theirs = kafka.TopicPartition(self._log.name_of(tp.topic), tp.partition)
        end, begin = (
            int(self._admin.list_partition_offsets({theirs: which}, timeout_ms=_ASK_MS)[theirs].offset)
            for which in (OffsetSpec.LATEST, OffsetSpec.EARLIEST)
        )
        return end, begin

    def _record(self, tp: TopicPartition, offset: int) -> Record:
        theirs = kafka.TopicPartition(self._log.name_of(tp.topic), tp.partition)
        self._consumer.assign([theirs])
        self._consumer.seek(theirs, offset)
        found: list[Any] = self._consumer.poll(_READ_MS, max_records=1).get(theirs, [])
        if not found:
            raise kafka.errors.KafkaTimeoutError(f"record {offset} of {tp} was not read in time")
        return message_record(tp, offset, found[0].value)

    def _insist(self, ask: Callable[[], T]) -> T:
        return insist(ask, self._patience, AWAY, time.sleep)


def _is_repeated(record: Record) -> bool:
    return "repeats" in record.meta or (record.kind != JSON_KIND and record.num_rows == 0)


def _take(pending: list[Message]) -> list[Message]:
    """Take from the front as many as fit into a request, at least one."""
    count = size_bytes = 0
    for message in pending:
        size_bytes += len(message.value)
        if count and size_bytes > _REQUEST_BYTES:
            break
        count += 1
    taken = pending[:count]
    del pending[:count]
    return taken
