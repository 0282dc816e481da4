"""Measure the log: rows appended and read per second, and how long a record takes to another process.

    python -m benchmarks.log [DIRECTORY]

It is the embedded log, or one on the broker that MANDI_LOG names (kafka://...), where the clients are compared as well.

Latency is from `append` in the writing process to the decoded batch in the reading one, at random times, with group
commit running. Throughput is with group commit as well: what a process sustains, not what a cache takes.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from benchmarks.kafka_clients import compare_clients
from connectors.log import open_reader
from market.kafka_log import SCHEME, is_kafka, kafka_log
from market.records import LogWriter, TopicPartition
from market.schemas import PRICE_SCALE, QUOTE, TICKS, TRADE
from market.topics import prices
from sinks.log import open_writer

_LARGE_ROWS: Final = 20_000
_SMALL_ROWS: Final = 5
_SECONDS: Final = 2.0
_PINGS: Final = 2000
_WARM_UP: Final = 100  # pings not counted: the first ones load code in the reader
_SEED: Final = 7


def bench_log(directory: str) -> dict[str, float]:
    """Measure in new directories under `directory`, or with new topics on the broker, for about ten seconds.

    Units: `*_rows_per_s`; `*_us` microseconds; `*_cpu_us` of this process, all threads; `bytes_per_row` of the file.
    """
    with tempfile.TemporaryDirectory(dir=directory) as where:
        base = os.environ.get("MANDI_LOG", "")
        url = f"{_broker(base)}/{Path(where).name}." if is_kafka(base) else f"{Path(where).as_uri()}/"
        large = _throughput(f"{url}large", ticks(_LARGE_ROWS), "large")
        small = _throughput(f"{url}small", ticks(_SMALL_ROWS), "small")
        clients = compare_clients(f"{url}clients", ticks(_LARGE_ROWS)) if is_kafka(base) else {}
        sizes = {} if is_kafka(base) else _bytes_per_row(Path(where), large, small)
        return large | small | sizes | _tail_latency(f"{url}tail") | clients


def _broker(url: str) -> str:
    return SCHEME + ",".join(kafka_log(url).servers)


def ticks(rows: int) -> pa.RecordBatch:
    """One commodity on three venues: a random walk in whole price steps, three quotes to a trade."""
    rng = np.random.default_rng(_SEED)
    trade = rng.random(rows) < 0.25
    price = (26_000 + np.cumsum(rng.integers(-1, 2, rows))) * (PRICE_SCALE // 10)
    size = rng.integers(1, 50, rows) * PRICE_SCALE
    ts_event = 1_795_231_397_678_000_000 + np.cumsum(rng.integers(1_000, 90_000, rows))
    codes = rng.integers(0, 3, rows)
    columns = {
        "kind": pa.array(np.where(trade, TRADE, QUOTE), pa.int8()),
        "venue": _dictionary(codes, pa.int8(), ["XCEC", "XIMC", "BBG"]),
        "instrument": _dictionary(codes, pa.int32(), ["XCEC:GC:202612", "XIMC:GOLD:202612", "BBG:XAU:SPOT"]),
        "ts_event": pa.array(ts_event),
        "ts_recv": pa.array(ts_event + rng.integers(100_000, 900_000, rows)),
        "seq": pa.array(np.arange(rows)),
        "price": pa.array(price, mask=~trade),
        "size": pa.array(size, mask=~trade),
        "side": pa.array(rng.integers(-1, 2, rows), pa.int8(), mask=~trade),
        "trade_id": pa.array([str(1_000_000 + row) if trade[row] else None for row in range(rows)]),
        "bid_price": pa.array(price - PRICE_SCALE // 10, mask=trade),
        "bid_size": pa.array(size, mask=trade),
        "ask_price": pa.array(price + PRICE_SCALE // 10, mask=trade),
        "ask_size": pa.array(size[::-1], mask=trade),
        "flags": pa.array(np.zeros(rows), pa.int32()),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in TICKS.names], schema=TICKS)


def _dictionary(codes: np.ndarray, index: pa.DataType, values: list[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes, index), values)


def _throughput(url: str, batch: pa.RecordBatch, name: str) -> dict[str, float]:
    tp = prices("gold")
    writer = open_writer(url)
    _append(writer, tp, batch)  # makes the files, or the topic
    started_cpu_s = time.process_time()
    calls, seconds = _repeat(lambda: _append(writer, tp, batch))
    cpu_s = time.process_time() - started_cpu_s
    writer.close()
    started_cpu_s = time.process_time()
    read_rows, read_seconds = _read_all(url, tp)
    read_cpu_s = time.process_time() - started_cpu_s
    return {
        f"{name}_batches": calls + 1,
        f"{name}_append_cpu_us": cpu_s / calls * 1e6,
        f"{name}_read_cpu_us": read_cpu_s / (calls + 1) * 1e6,
        f"{name}_append_rows_per_s": calls * batch.num_rows / seconds,
        f"{name}_append_flush_us": seconds / calls * 1e6,
        f"{name}_read_rows_per_s": read_rows / read_seconds,
    }


def _bytes_per_row(where: Path, large: dict[str, float], small: dict[str, float]) -> dict[str, float]:
    rows = {"large": large["large_batches"] * _LARGE_ROWS, "small": small["small_batches"] * _SMALL_ROWS}
    sizes = {name: sum(path.stat().st_size for path in (where / name).rglob("*.seg")) for name in rows}
    return {f"{name}_bytes_per_row": sizes[name] / rows[name] for name in rows}


def _append(writer: LogWriter, tp: TopicPartition, batch: pa.RecordBatch) -> None:
    writer.append(tp, "ticks", batch, key="gold")
    writer.flush()


def _repeat(call: Callable[[], None]) -> tuple[int, float]:
    started_s = time.perf_counter()
    calls = 0
    while (seconds := time.perf_counter() - started_s) < _SECONDS:
        call()
        calls += 1
    return calls, seconds


def _read_all(url: str, tp: TopicPartition) -> tuple[int, float]:
    reader = open_reader(url)
    started_s = time.perf_counter()
    offset = rows = 0
    while records := reader.read(tp, offset):
        offset += len(records)
        rows += sum(record.batch.num_rows for record in records if record.batch is not None)
    seconds = time.perf_counter() - started_s
    reader.close()
    return rows, seconds


def _tail_latency(url: str) -> dict[str, float]:
    writer = open_writer(url)
    writer.last_record(prices("gold"))  # makes the files, or the topic
    batch = ticks(_SMALL_ROWS)
    command = [sys.executable, "-m", "benchmarks.log", "--follow", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        follower.stdout.readline()  # it is there
        rng = np.random.default_rng(_SEED)
        for pause_s in rng.exponential(0.0015, _PINGS):
            time.sleep(pause_s)
            _append(writer, prices("gold"), batch)
        found: dict[str, float] = json.loads(follower.stdout.readline())
    writer.close()
    return found


def _follow(url: str) -> None:
    """The reading process: say that we are there, take `_PINGS` records, print the percentiles."""
    reader = open_reader(url)
    waits_us: list[float] = []
    print("ready", flush=True)
    started_cpu_s, started_s = time.process_time(), time.perf_counter()
    while len(waits_us) < _PINGS:
        records = reader.read(prices("gold"), len(waits_us))
        waits_us += [(time.time_ns() - record.ts_append) / 1e3 for record in records]
        reader.wait(1.0)
    busy = (time.process_time() - started_cpu_s) / (time.perf_counter() - started_s)
    idle = _idle_cpu(reader.wait)
    p50, p99 = np.percentile(waits_us[_WARM_UP:], [50, 99])
    print(json.dumps({"tail_p50_us": p50, "tail_p99_us": p99, "tail_cpu": busy, "idle_cpu": idle}), flush=True)


def _idle_cpu(wait: Callable[[float], bool]) -> float:
    started_s = time.process_time()
    wait(1.0)
    return time.process_time() - started_s


def main() -> None:
    if sys.argv[1:2] == ["--follow"]:
        _follow(sys.argv[2])
        return
    directory = sys.argv[1] if len(sys.argv) > 1 else tempfile.gettempdir()
    for name, value in bench_log(os.path.abspath(directory)).items():
        print(f"{name:28} {value:14,.3f}")


if __name__ == "__main__":
    main()
