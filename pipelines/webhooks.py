"""The webhook flow, only where it is wanted: topics of the log in, one signed POST a row and receiver out.

What cannot be delivered is a record of `market.webhooks.dead`, whole and with the reason: no row is lost silently,
and nobody waits for a receiver that is away for longer than about a minute.

Delivery: at least once, in order for each receiver; after a crash the last epoch is sent again, under the same ids.
Step ids are stable: recovery is keyed by them.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import partial
from threading import Event
from time import monotonic
from typing import Any, Final

import bytewax.operators as op
import orjson
from bytewax.dataflow import Dataflow
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.daemon import in_daemon_thread
from market import topics
from market.records import JSON_KIND, LogReader, LogWriter, Record, TopicPartition, joined
from pipelines import metrics
from pipelines.engine.log_source import LogSource
from pipelines.engine.observe import Lag
from pipelines.engine.outputs import guarded
from sinks.errors import StoreUnavailable
from sinks.faults import crash_point
from sinks.webhooks import Courier, Dead, Message

_POLL: Final = timedelta(milliseconds=200)
_LARGEST_EXACT: Final = 2**53  # what every JSON reader has exactly
_LOOK_S: Final = 0.1
_PATIENCE_S: Final = 1.5
"""Once we are told to stop, a receiver has this long for each answer. Its supervisor gives a flow three seconds."""

_DEAD: Final = TopicPartition(topics.WEBHOOKS_DEAD, topics.FROM_ANALYTICS)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhooksConfig:
    """What the flow needs. `open_couriers`, one a receiver, is called in the worker; `stop` ends it, position kept."""

    topics: Sequence[str]
    open_reader: Callable[[], LogReader]
    open_writer: Callable[[], LogWriter]
    open_couriers: Callable[[], Sequence[Courier]]
    stop: Event


def build(config: WebhooksConfig) -> Dataflow:
    """Wire the flow."""
    flow = Dataflow("webhooks")
    source = LogSource(
        open_reader=config.open_reader,
        patterns=config.topics,
        convert=messages_of,
        stop=config.stop,
        on_read=Lag("webhooks"),
        poll=_POLL,
    )
    op.output("post", op.input("events", flow, source), _PostSink(config))
    return flow


def messages_of(tp: TopicPartition, records: list[Record], is_start: bool) -> Iterator[tuple[str, Message]]:
    """One message a row, or a JSON event, in order.

    Shape: records of rows, of any kind -> a body `{"type": topic, "data": {column: value}}`; what is null is left out.
    Units: as in market.schemas; integers that a JSON number need not hold, and decimals, are strings.
    State: the id is a digest of topic and body, so a row that its flow wrote again after a crash has its old id.
    """
    for record in records:
        rows = [orjson.loads(record.value)] if record.kind == JSON_KIND else joined([record]).to_pylist()
        for row in rows:
            data = {name: value for name, value in row.items() if value is not None}
            body = orjson.dumps(_exact({"type": tp.topic, "data": data}), default=_plain)
            digest = hashlib.sha256(tp.topic.encode() + b"\0" + body).hexdigest()
            yield "post", Message(message_id=f"msg_{digest[:32]}", topic=tp.topic, body=body)


def _exact(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _exact(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_exact(each) for each in value]
    is_large = isinstance(value, int) and abs(value) > _LARGEST_EXACT
    return str(value) if is_large else value


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(type(value).__name__)


@dataclass(frozen=True, slots=True)
class _PostSink(FixedPartitionedSink[Message, None]):
    config: WebhooksConfig

    def list_parts(self) -> list[str]:
        return ["post"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> StatefulSinkPartition[Message, None]:
        return guarded(_PostPart(self.config.open_couriers(), self.config.open_writer(), self.config.stop))


@dataclass(slots=True)
class _PostPart(StatefulSinkPartition[Message, None]):
    """Receivers at the same time, the messages of each in order. A batch is done before the next is read."""

    couriers: Sequence[Courier]
    writer: LogWriter
    stop: Event
    answered_s: float = 0.0

    def __post_init__(self) -> None:
        for courier in self.couriers:
            for outcome in ("delivered", "dead", "retried"):
                metrics.WEBHOOKS.labels(courier.endpoint.name, outcome)  # from 0: the first one is then a rise

    def write_batch(self, values: list[Message]) -> None:
        self.answered_s = monotonic()
        rounds = [in_daemon_thread(partial(self._deliver_all, courier, values), "webhook") for courier in self.couriers]
        self._wait_for(rounds)
        for done in rounds:
            for dead in done.result():
                self._bury(dead)
        crash_point("webhooks.write.after")

    def snapshot(self) -> None:
        self.writer.sync()

    def close(self) -> None:
        self.writer.close()

    def _wait_for(self, rounds: Sequence[Future[list[Dead]]]) -> None:
        """Wait for all answers; told to stop, only as long as some come. What was not acknowledged comes again."""
        told_s: float | None = None
        while waiting := wait(rounds, _LOOK_S).not_done:
            if self.stop.is_set():
                told_s = told_s or monotonic()
                if monotonic() > max(told_s, self.answered_s) + _PATIENCE_S:
                    mute = [
                        each.endpoint.name for each, one in zip(self.couriers, rounds, strict=True) if one in waiting
                    ]
                    raise StoreUnavailable(", ".join(mute), "no answer, and we were told to stop")

    def _deliver_all(self, courier: Courier, messages: Sequence[Message]) -> list[Dead]:
        name, dead = courier.endpoint.name, []
        for message in messages:
            if message.topic not in courier.endpoint.topics:
                continue
            found = courier.deliver(message)
            self.answered_s = monotonic()
            metrics.WEBHOOKS.labels(name, "delivered" if found is None else "dead").inc()
            if found is not None:
                dead.append(found)
        return dead

    def _bury(self, dead: Dead) -> None:
        letter = {
            "endpoint": dead.endpoint,
            "message_id": dead.message.message_id,
            "topic": dead.message.topic,
            "reason": dead.reason,
            "attempts": dead.attempts,
            "body": dead.message.body.decode(),
        }
        self.writer.append(_DEAD, JSON_KIND, orjson.dumps(letter), key=dead.endpoint)
        self.writer.flush()
