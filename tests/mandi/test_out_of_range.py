"""A flow whose position Kafka's retention has passed stops, and says the command that resolves it."""

import shutil
from pathlib import Path

from arrivals import batch
from kafka_support import OwnLog
from reference import SECOND, Row

from connectors.log import open_reader
from market import topics
from market.records import TopicPartition
from market.schemas import TICKS
from sinks.log import open_writer
from tests.acceptance.command import start
from tests.chaos.harness import until

T0 = 1_790_000_000 * SECOND
BARS = TopicPartition(topics.BARS, topics.FROM_ANALYTICS)


def append(url: str, start_at: int) -> None:
    writer = open_writer(url)
    for n in range(start_at, start_at + 10):
        row = Row("trade", "XCEC", "XCEC:GC:202612", T0 + n * SECOND, T0 + n * SECOND, 26_000 * SECOND, SECOND, n)
        writer.append(topics.prices("gold"), "ticks", batch([row]).select(TICKS.names))
        writer.flush()
    writer.close()


def test_it_stops_and_says_what_to_do_and_that_works(own_log: OwnLog, tmp_path: Path) -> None:
    url = own_log.url
    environment = {"MANDI_LOG": url, "MANDI_DATA_DIR": str(tmp_path)}
    append(url, 0)
    follow(url, environment, more_than=0)
    append(url, 10)
    own_log.admin.delete_records({own_log.theirs(topics.prices("gold")): 15})

    process = start("run", "bars", env=environment)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    store = tmp_path / "recovery" / "bars"
    assert "is not in the log, which holds [15, 21)" in said.splitlines()[-1]
    assert said.rstrip().endswith(f"rm -r {store}")

    shutil.rmtree(store)
    reader = open_reader(url)
    before = reader.end_offset(BARS)
    reader.close()
    follow(url, environment, more_than=before)


def follow(url: str, environment: dict[str, str], more_than: int) -> None:
    """Run the flow until it has published, and stop it in order."""
    reader = open_reader(url)
    process = start("run", "bars", env=environment)
    until(lambda: reader.end_offset(BARS) > more_than)
    process.terminate()
    assert process.wait(60) == 0
    process.communicate()
    reader.close()
