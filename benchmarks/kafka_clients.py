"""Compare Kafka clients on the same broker, with the same frames: kafka-python, confluent-kafka, and our own producer.

Each writes one frame after the other, waits for its acknowledgement by all replicas, and counts those; then each
reads them all. Frames are encoded before, so that only the client is measured.
"""

import time
from collections.abc import Callable
from typing import Any, Final
from unittest.mock import patch

import kafka
import kafka.record.default_records
import kafka.record.util
import pyarrow as pa

from market.kafka_log import KafkaLog, kafka_log
from market.records import PATIENT, Record, TopicPartition, encode_frame
from sinks.kafka_producer import FencedProducer, Message
from sinks.log import open_writer

_FRAMES: Final = 150
_SLOW_FRAMES: Final = 20  # 70 ms each
_KEY: Final = b"gold"
_READ_MS: Final = 30_000

Figures = dict[str, float]


def compare_clients(url: str, batch: pa.RecordBatch) -> Figures:
    """Units: `*_us` a frame of `batch`, wall and processor time of this process; `*_lost` frames not acknowledged."""
    log, frame = kafka_log(url), encode_frame(Record(offset=0, ts_append=0, kind="ticks", payload=batch))
    found = {"client_frame_bytes": float(len(frame))}
    found |= _ours(log, frame)
    found |= _library(log, frame)
    found |= _without_native_crc(log, frame)
    found |= _confluent(log, frame)
    return found


def _topic(log: KafkaLog, name: str) -> str:
    """Make a topic and return the broker's name of it."""
    prefix = log.prefix.removesuffix(".")
    writer = open_writer(f"kafka://{','.join(log.servers)}/{prefix}")
    writer.last_record(TopicPartition(name))
    writer.close()
    return log.name_of(name)


def _ours(log: KafkaLog, frame: bytes) -> Figures:
    tp = TopicPartition("ours")
    _topic(log, tp.topic)
    producer = FencedProducer(log, PATIENT)
    producer.claim(tp)
    message = Message(_KEY, frame, 0)
    acked = [0]

    def send() -> None:
        acked[0] = producer.send({tp: [message]})[tp] + 1

    figures = _measured("ours_write", _FRAMES, send)
    producer.close()
    return figures | {"client_ours_lost": _FRAMES + 1 - acked[0]}


def _library(log: KafkaLog, frame: bytes) -> Figures:
    name = _topic(log, "library")
    figures = _library_write(log, name, frame, "kafka_python_write", _FRAMES)
    consumer = kafka.KafkaConsumer(bootstrap_servers=list(log.servers), max_partition_fetch_bytes=1 << 20)
    where = kafka.TopicPartition(name, 0)
    consumer.assign([where])
    consumer.seek(where, 0)
    figures |= _measured_read("kafka_python_read", lambda: sum(map(len, consumer.poll(_READ_MS).values())))
    consumer.close(autocommit=False)
    return figures


def _without_native_crc(log: KafkaLog, frame: bytes) -> Figures:
    """kafka-python without the package crc32c: it then computes the checksum of each batch in Python."""
    slow = kafka.record.util.crc32c_py
    name = _topic(log, "plain")
    with patch.object(kafka.record.default_records, "calc_crc32c", lambda data: slow(data)):
        return _library_write(log, name, frame, "kafka_python_without_crc32c_write", _SLOW_FRAMES)


def _library_write(log: KafkaLog, name: str, frame: bytes, what: str, frames: int) -> Figures:
    producer = kafka.KafkaProducer(
        bootstrap_servers=list(log.servers), acks="all", enable_idempotence=True, max_request_size=64 << 20
    )
    acked = [0]

    def send() -> None:
        acked[0] = producer.send(name, key=_KEY, value=frame, partition=0).get(30).offset + 1

    figures = _measured(what, frames, send)
    producer.close()
    return figures | {f"client_{what}_lost": frames + 1 - acked[0]}


def _confluent(log: KafkaLog, frame: bytes) -> Figures:
    try:
        import confluent_kafka
    except ImportError:  # only the project's developers have it
        return {}
    name, servers = _topic(log, "confluent"), ",".join(log.servers)
    settings = {"acks": "all", "enable.idempotence": True, "linger.ms": 0, "message.max.bytes": 64 << 20}
    producer = confluent_kafka.Producer({"bootstrap.servers": servers, **settings})
    acked: list[Any] = []

    def send() -> None:
        producer.produce(name, key=_KEY, value=frame, partition=0, on_delivery=lambda error, _: acked.append(error))
        producer.flush()

    figures = _measured("confluent_write", _FRAMES, send)
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": servers, "group.id": "none", "enable.auto.commit": False, "auto.offset.reset": "error"}
    )
    consumer.assign([confluent_kafka.TopicPartition(name, 0, 0)])
    figures |= _measured_read("confluent_read", lambda: len(consumer.consume(50, 1.0)))
    consumer.close()
    return figures | {"client_confluent_lost": _FRAMES + 1 - acked.count(None)}


def _measured(what: str, count: int, call: Callable[[], None]) -> Figures:
    call()  # connects
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    for _ in range(count):
        call()
    return _per_frame(what, count, wall_s, cpu_s)


def _measured_read(what: str, read: Callable[[], int]) -> Figures:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    left = _FRAMES + 1
    while left > 0:
        left -= read()
    return _per_frame(what, _FRAMES + 1, wall_s, cpu_s)


def _per_frame(what: str, count: int, wall_s: float, cpu_s: float) -> Figures:
    return {
        f"client_{what}_us": (time.perf_counter() - wall_s) / count * 1e6,
        f"client_{what}_cpu_us": (time.process_time() - cpu_s) / count * 1e6,
    }
