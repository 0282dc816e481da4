"""The JSON mirror: what is in the price topics, as JSON, once while nothing crashes; times and prices exact."""

import threading
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import kafka
import orjson
import pytest
from arrivals import batch
from reference import SECOND, Row

from connectors.log import open_reader
from mandi.errors import UsageError
from mandi.log import json_mirror
from mandi.settings import load
from market import topics
from market.json_rows import json_of_ticks
from market.kafka_log import kafka_log
from market.records import PATIENT
from market.schemas import TICKS
from pipelines.engine.recovery import run_flow
from pipelines.mirror import MirrorConfig, build
from sinks.kafka_json import JsonMirror
from sinks.log import open_writer
from sinks.retention import KEEP_ALL
from tests.services.base import Server

T0 = 1_790_000_000 * SECOND
GOLD = "XCEC:GC:202612"


def rows(start: int, end: int) -> list[Row]:
    return [
        Row("quote" if n % 3 == 0 else "trade", "XCEC", GOLD, T0 + n, T0 + n + 5, 26_000_100_000_000 + n, SECOND, n)
        for n in range(start, end)
    ]


def test_a_row_is_exact_and_clock_rows_are_left_out() -> None:
    clock = Row("clock", "XCEC", None, T0, T0, 0, SECOND, 9)
    found = list(json_of_ticks(batch([*rows(1, 2), clock]).select(TICKS.names)))
    ((key, text),) = found
    assert key == GOLD
    assert b'"price":26000.100000001' in text
    assert b'"ts_event":"1790000000000000001"' in text
    assert orjson.loads(text)["kind"] == "trade"


def fill(url: str, given: list[Row]) -> None:
    writer = open_writer(url)
    for start in range(0, len(given), 7):
        writer.append(topics.prices("gold"), "ticks", batch(given[start : start + 7]).select(TICKS.names), key="gold")
    writer.close()


def run_until_read(url: str, directory: Path) -> None:
    stop = threading.Event()
    stop.set()
    opened = partial(JsonMirror, kafka_log(url), KEEP_ALL, lambda: T0, PATIENT)
    config = MirrorConfig(open_reader=partial(open_reader, url), open_mirror=opened, stop=stop)
    run_flow("mirror", lambda: build(config), directory)


def mirrored(url: str, count: int) -> list[tuple[bytes, dict[str, Any]]]:
    log = kafka_log(url)
    consumer = kafka.KafkaConsumer(bootstrap_servers=list(log.servers), enable_auto_commit=False)
    where = kafka.TopicPartition(log.name_of(topics.json_mirror("gold")), 0)
    consumer.assign([where])
    consumer.seek(where, 0)
    found: list[Any] = []
    while len(found) < count and (more := consumer.poll(10_000).get(where)):
        found += more
    found += consumer.poll(200).get(where, [])  # nothing may come behind them
    consumer.close(autocommit=False)
    return [(message.key, orjson.loads(message.value)) for message in found]


def test_the_mirror_has_every_row_in_order_and_goes_on_where_it_was(kafka_broker: Server, tmp_path: Path) -> None:
    url = f"{kafka_broker.url}/{uuid4().hex}"
    for start, end in ((0, 50), (50, 80)):
        fill(url, rows(start, end))
        run_until_read(url, tmp_path / "mirror")
    found = mirrored(url, 80)
    assert {key for key, _ in found} == {GOLD.encode()}
    assert [int(row["ts_event"]) - T0 for _, row in found] == list(range(80))
    assert [row["kind"] for _, row in found] == ["quote" if n % 3 == 0 else "trade" for n in range(80)]
    reader = open_reader(url)
    assert reader.partitions(topics.PRICES_PATTERN) == [topics.prices("gold")], "no flow takes the mirror for prices"
    reader.close()


def test_a_mirror_of_an_embedded_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs the log on Kafka"):
        json_mirror(load(tmp_path, {}), threading.Event())
