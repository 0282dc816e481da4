"""The webhook flow: every row to every receiver that wants it, over restarts under the same id, or a dead letter."""

import ipaddress
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import orjson
import pyarrow as pa
import pytest
from prometheus_client import REGISTRY

from connectors.log import open_reader
from mandi import webhooks as of_settings
from mandi.errors import UsageError
from mandi.settings import load
from market import topics
from market.records import JSON_KIND, LogWriter, TopicPartition
from pipelines.engine.recovery import run_flow
from pipelines.webhooks import WebhooksConfig, build
from sinks.log import open_writer
from sinks.webhooks import Courier, Endpoint
from tests.sinks.webhook_receiver import WebhookReceiver

KEY = b"k" * 24
ANOMALIES, ARBITRAGE = TopicPartition("market.anomalies", 1), TopicPartition("market.arbitrage", 1)


@pytest.fixture
def receivers() -> Iterator[list[WebhookReceiver]]:
    found = [WebhookReceiver(KEY), WebhookReceiver(KEY)]
    yield found
    for each in found:
        each.close()


def rows(*numbers: int) -> pa.RecordBatch:
    columns = {"anomaly_id": [f"a{n}" for n in numbers], "ts_event": [1_790_000_000_000_000_000 + n for n in numbers]}
    score = pa.array([None if n == 2 else n / 2 for n in numbers], pa.float64())
    return pa.RecordBatch.from_pydict({**columns, "score": score})


def write(url: str, tp: TopicPartition, *records: pa.RecordBatch | bytes) -> None:
    writer: LogWriter = open_writer(url)
    for record in records:
        writer.append(tp, JSON_KIND if isinstance(record, bytes) else "anomalies", record)
    writer.close()


def run(url: str, directory: Path, receivers: Sequence[WebhookReceiver]) -> None:
    """Run the flow until it has read all there is."""
    stop, wanted = threading.Event(), (("market.anomalies", "market.arbitrage"), ("market.arbitrage",))
    stop.set()
    couriers = [
        Courier(
            endpoint=Endpoint(name=f"desk{n}", url=receiver.url, keys=(KEY,), topics=wanted[n]),
            stop=threading.Event(),
            allow=[ipaddress.ip_network("127.0.0.1/32")],
            first_s=0.001,
            last_s=0.002,
        )
        for n, receiver in enumerate(receivers)
    ]
    config = WebhooksConfig(
        topics=wanted[0],
        open_reader=partial(open_reader, url),
        open_writer=partial(open_writer, url),
        open_couriers=lambda: couriers,
        stop=stop,
    )
    run_flow("webhooks", lambda: build(config), directory)


def ids(receiver: WebhookReceiver) -> list[str]:
    return [orjson.loads(body)["data"].get("anomaly_id", "json") for _, body in receiver.taken]


def test_each_gets_what_it_asked_for_in_order_and_once(tmp_path: Path, receivers: list[WebhookReceiver]) -> None:
    url = (tmp_path / "log").as_uri()
    write(url, ANOMALIES, rows(1, 2), rows(3))
    run(url, tmp_path / "flow", receivers)
    write(url, ANOMALIES, rows(4))
    write(url, ARBITRAGE, b'{"net":"12.50"}')
    run(url, tmp_path / "flow", receivers)
    assert sorted(ids(receivers[0])) == ["a1", "a2", "a3", "a4", "json"]
    assert [name for name in ids(receivers[0]) if name != "json"] == ["a1", "a2", "a3", "a4"]
    ((_, body),) = receivers[1].taken
    assert orjson.loads(body) == {"type": "market.arbitrage", "data": {"net": "12.50"}}
    second = orjson.loads(receivers[0].taken[1][1])
    assert second == {"type": "market.anomalies", "data": {"anomaly_id": "a2", "ts_event": "1790000000000000002"}}


def test_what_is_sent_again_has_its_old_id(tmp_path: Path, receivers: list[WebhookReceiver]) -> None:
    url = (tmp_path / "log").as_uri()
    write(url, ANOMALIES, rows(1, 2), rows(2))  # the flow that made it wrote a row again after a crash
    run(url, tmp_path / "first", receivers)
    run(url, tmp_path / "lost its recovery", receivers)
    names = [name for name, _ in receivers[0].taken]
    assert len(names) == 6
    assert names[:3] == names[3:]
    assert names[1] == names[2] != names[0]


def test_what_nobody_took_is_a_dead_letter(tmp_path: Path, receivers: list[WebhookReceiver]) -> None:
    url = (tmp_path / "log").as_uri()
    write(url, ARBITRAGE, b'{"n":1}', b'{"n":2}')
    receivers[1].answers.append((410, {}))
    run(url, tmp_path / "flow", receivers)
    assert len(receivers[0].taken) == 2
    reader = open_reader(url)
    letters = [orjson.loads(each.value) for each in reader.read(TopicPartition(topics.WEBHOOKS_DEAD, 1), 0)]
    reader.close()
    assert [(each["endpoint"], each["attempts"], each["reason"]) for each in letters] == [
        ("desk1", 1, "HTTP 410"),
        ("desk1", 0, "the receiver is gone (410)"),
    ]
    assert [(each["message_id"], each["body"].encode()) for each in letters] == receivers[0].taken
    dead = [
        REGISTRY.get_sample_value("mandi_webhooks_total", {"endpoint": f"desk{n}", "outcome": "dead"}) for n in (0, 1)
    ]
    assert dead == [0, 2]  # from 0: the first one must be a rise to Prometheus


def test_receivers_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "webhooks.toml"
    settings = load(tmp_path, {"MANDI_WEBHOOKS": str(file), "MANDI_WEBHOOKS_ALLOW": "127.0.0.0/8 ::1/128"})
    with pytest.raises(UsageError, match="cannot be read"):
        of_settings.endpoints(settings)
    page = (Path(__file__).parents[2] / "docs" / "oncall.md").read_text()
    file.write_text(page.partition("```toml\n")[2].partition("```")[0])
    (endpoint,) = of_settings.endpoints(settings)
    assert (endpoint.name, len(endpoint.keys)) == ("desk", 2)
    assert len(of_settings.allowed_networks(settings)) == 2
    file.write_text("url = 3\n")
    with pytest.raises(UsageError):
        of_settings.endpoints(settings)
    with pytest.raises(UsageError, match="webhooks_allow"):
        of_settings.endpoints(load(tmp_path, {"MANDI_WEBHOOKS": str(file), "MANDI_WEBHOOKS_ALLOW": "everyone"}))
    with pytest.raises(UsageError, match="MANDI_WEBHOOKS"):
        of_settings.endpoints(load(tmp_path, {}))
