"""How far a consumer is behind, as Prometheus has it."""

from functools import partial
from pathlib import Path

from prometheus_client import REGISTRY

from connectors.log import open_reader
from market.records import JSON_KIND, TopicPartition
from pipelines.engine.observe import Lag
from sinks.log import open_writer

TP = TopicPartition("market.bars", 0)


def test_a_flow_that_waits_and_does_not_read_is_seen_to_fall_behind(tmp_path: Path) -> None:
    url = tmp_path.as_uri()
    writer, reader, lag = open_writer(url), open_reader(url), Lag("waits")
    behind = partial(REGISTRY.get_sample_value, "mandi_log_lag_rows", {"topic": str(TP), "consumer": "waits"})
    writer.append(TP, JSON_KIND, b"{}")
    writer.flush()
    lag(reader, TP, 1)
    assert behind() == 0
    for _ in range(3):
        writer.append(TP, JSON_KIND, b"{}")
    writer.flush()
    lag.again()
    assert behind() == 3
    writer.close()
    reader.close()
