"""The performance suite behind `mandi bench`: name -> (what runs it, what it measures)."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Final

Run = Callable[[Path], Mapping[str, object]]


def _lazily(module: str, function: str) -> Callable[[], Run]:
    return lambda: getattr(import_module(f"benchmarks.{module}"), function)


SUITE: Final = {
    "bars": (_lazily("bars", "bench_bars"), "ticks per second into bars: columnar against one object per tick"),
    "log": (
        _lazily("log", "bench_log"),
        "rows per second through the log, embedded or Kafka's (MANDI_LOG); its latency",
    ),
    "stores": (_lazily("stores", "bench_stores"), "rows per second into both stores"),
    "chunks": (_lazily("chunks", "bench_chunks"), "TimescaleDB (MANDI_TIMESCALE): what the width of chunks costs"),
    "analytics": (
        _lazily("analytics", "bench_analytics"),
        "ClickHouse: bytes and time by codec and ordering; seconds of the analysts' views",
    ),
    "detect": (
        _lazily("nab", "bench_detect"),
        "cost of `mandi detect` a value, and its score on the NAB corpus (MANDI_NAB)",
    ),
    "simulator": (_lazily("simulator", "bench_simulator"), "CPU of the simulated market at 20,000 messages per second"),
    "codecs": (_lazily("codecs", "bench_codecs"), "messages per second and core that each codec decodes"),
    "signals": (_lazily("signals", "bench_signals"), "book updates per second and core, by way of telling a book"),
    "forecasts": (
        _lazily("forecasts", "bench_forecasts"),
        "scores of `mandi forecast` on M4 Hourly (MANDI_HOURLY) and daily commodities (MANDI_COMMODITIES)",
    ),
    "latency": (_lazily("latency", "bench_latency"), "venue send to WebSocket receipt at 1,000 messages per second"),
}
