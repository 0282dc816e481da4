"""The anomalies flow: the log in, `market.anomalies` out, with the rupee as a witness for rupee contracts."""

from functools import partial
from pathlib import Path
from threading import Event

from prometheus_client import REGISTRY
from simulated_arrivals import START_NS, S, batch

from connectors.log import open_reader
from market import topics
from market.detectors.protocol import KINDS
from market.records import TopicPartition
from market.schemas import QUOTE, TICKS
from pipelines import anomalies
from pipelines.engine.recovery import run_flow
from sinks.log import open_writer

OUT = TopicPartition(topics.ANOMALIES, topics.FROM_ANALYTICS)


def quotes(instrument: str, price: float, seconds: range) -> list[dict]:
    rows = []
    for second in seconds:
        at, middle = START_NS + second * S + S // 2, price * (1 + (second % 3 - 1) * 5e-5)
        sides = {"bid_price": round(middle * 1e9), "ask_price": round(middle * (1 + 5e-5) * 1e9)}
        rows.append({"kind": QUOTE, "instrument": instrument, "ts_event": at, "ts_recv": at, **sides})
    return rows


def append(log: str, commodity: str, rows: list[dict], kind: str = "ticks") -> None:
    writer = open_writer(log)
    ticks = batch(sorted(rows, key=lambda row: row["ts_recv"])).select(TICKS.names)
    writer.append(topics.prices(commodity), kind, ticks, key=commodity)
    writer.flush()
    writer.close()


def run(log: str, directory: Path) -> None:
    """Read the log to its end."""
    stop = Event()
    stop.set()
    config = anomalies.AnomaliesConfig(
        open_reader=partial(open_reader, log), open_writer=partial(open_writer, log), now=lambda: 0, stop=stop
    )
    run_flow("anomalies", partial(anomalies.build, config), directory)


def test_a_move_of_the_rupee_is_told_once_and_by_its_name(tmp_path: Path) -> None:
    log, gold, comex, rupee = (tmp_path / "log").as_uri(), "XIMC:GOLD:202612", "XCEC:GC:202612", "BBG:USDINR:SPOT"
    ended = {"kind": "return_spike"}
    before = REGISTRY.get_sample_value("mandi_anomalies_total", ended) or 0
    moves = [*quotes(rupee, 90, range(40)), *quotes(rupee, 91, range(40, 90))]
    append(log, "usdinr", moves)
    append(log, "gold", moves, topics.FX_KIND)  # as ingest tells it there
    run(log, tmp_path / "recovery")
    append(log, "gold", quotes(comex, 4000, range(50)) + quotes(gold, 148000, range(40)))
    run(log, tmp_path / "recovery")
    append(log, "gold", quotes(comex, 4000, range(50, 90)) + quotes(gold, 149600, range(40, 90)))
    run(log, tmp_path / "recovery")
    reader = open_reader(log)
    records = reader.read(OUT, reader.begin_offset(OUT), 1 << 20)
    reader.close()
    told = [row for record in records for row in record.batch.to_pylist()]
    last = {row["anomaly_id"]: row for row in told}.values()
    spikes = {row["instrument"]: row["witness"] for row in last if row["kind"] == "return_spike"}
    assert spikes == {gold: "fx_move", rupee: "unconfirmed"}
    assert (REGISTRY.get_sample_value("mandi_anomalies_total", ended) or 0) - before == 2
    assert all(REGISTRY.get_sample_value("mandi_anomalies_total", {"kind": kind}) is not None for kind in KINDS)
