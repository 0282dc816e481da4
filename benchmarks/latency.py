"""Measure a market update from the venue's send to a WebSocket subscriber, through the whole running demo.

The demo runs in processes of its own at 1,000 messages per second. A witness client on the venue's own socket notes
`ts_send` of every trade and book change; a subscriber of the gateway notes when the same trade or quote arrives.
Both clocks are the market clock of this machine, so a difference is a latency and contains every hop: venue
socket, connector, log, gateway, subscriber's socket.
"""

import asyncio
import hashlib
import hmac
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import orjson
import uvloop
from websockets.asyncio.client import connect

from mandi.clock import FileClock
from mandi.demo import FOR_SUBSCRIBERS
from mandi.supervisor import mandi_command, run_at_once

RATE: Final = 1_000
WARM_UP_S: Final = 20.0  # a dozen processes import and prime themselves: not the steady state that is asked for
MEASURE_S: Final = 30.0
_START_TIMEOUT_S: Final = 60.0
_KEY: Final = "mandi"
_MONTHS: Final = "FGHJKMNQUVXZ"

Event = tuple[str, str]
"""What identifies an update on both sides: a trade's id, or a symbol and the time of a book change."""


@dataclass(slots=True)
class _Seen:
    sent: dict[Event, int] = field(default_factory=dict)
    got: dict[Event, tuple[int, int, int]] = field(default_factory=dict)  # ts_recv, ts_out, receipt
    measuring: bool = False


def bench_latency(directory: Path) -> Mapping[str, object]:
    """Return latency percentiles in ms, for trades and quotes apart and together."""
    demo = subprocess.Popen(
        mandi_command("demo", "--data-dir", str(directory), "--port", "0", "--rate", str(RATE)),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        endpoints = _endpoints(directory, demo)
        # The clients stand for other machines: their own delay is not asked for.
        run_at_once(os.getpid(), FOR_SUBSCRIBERS)
        seen = uvloop.run(_measure(directory, endpoints))
    finally:
        os.kill(demo.pid, signal.SIGINT)
        demo.wait(timeout=30)
    return _report(seen)


def _endpoints(directory: Path, demo: subprocess.Popen[bytes]) -> dict[str, Any]:
    path, deadline = directory / "endpoints.json", time.monotonic() + _START_TIMEOUT_S
    while not (path.exists() and (directory / "ice.secret").exists() and _listens(path)):
        if demo.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the demo did not start: run `mandi demo` to see why")
        time.sleep(0.1)
    found: dict[str, Any] = orjson.loads(path.read_bytes())
    return found


def _listens(endpoints: Path) -> bool:
    """Whether the venue takes connections yet: the dashboard is there before it."""
    venue = urlsplit(str(orjson.loads(endpoints.read_bytes())["venue"]))
    with socket.socket() as probe:
        return probe.connect_ex((venue.hostname or "", venue.port or 0)) == 0


async def _measure(directory: Path, endpoints: Mapping[str, Any]) -> _Seen:
    seen, now = _Seen(), FileClock(directory / "clock.json")
    secret = (directory / "ice.secret").read_text().strip()
    stream = str(endpoints["dashboard"]).replace("http", "ws") + "v1/stream"
    tasks = [
        asyncio.create_task(_witness(str(endpoints["venue"]), secret, now, seen)),
        asyncio.create_task(_subscriber(stream, now, seen)),
    ]
    await asyncio.sleep(WARM_UP_S)
    seen.measuring = True
    await asyncio.sleep(MEASURE_S)
    seen.measuring = False
    await asyncio.sleep(1.0)  # what was sent last is still on its way
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    failures = [result for result in results if not isinstance(result, asyncio.CancelledError)]
    if failures:
        raise RuntimeError(f"a client of the benchmark failed: {failures[0]!r}")
    return seen


async def _witness(url: str, secret: str, now: FileClock, seen: _Seen) -> None:
    """Follow the venue as one more of its clients and note when it sent what."""
    async with connect(url, max_size=None, compression=None) as socket:
        ts = now()
        sig = hmac.new(secret.encode(), str(ts).encode(), hashlib.sha256).hexdigest()
        await socket.send(orjson.dumps({"op": "auth", "key": _KEY, "ts": ts, "sig": sig}).decode())
        for number, channel in enumerate(("trades", "book")):
            request = {"op": "subscribe", "id": number, "channel": channel, "symbols": ["*"], "depth": 5}
            await socket.send(orjson.dumps(request).decode())
        async for frame in socket:
            message = orjson.loads(frame)
            if seen.measuring and message["op"] == "trade":
                seen.sent[_instrument(message["symbol"]), message["trade_id"]] = message["ts_send"]
            elif seen.measuring and message["op"] == "book":
                seen.sent[_instrument(message["symbol"]), str(message["ts_event"])] = message["ts_send"]


async def _subscriber(url: str, now: FileClock, seen: _Seen) -> None:
    async with connect(url, max_size=None, compression=None) as socket:
        for number, channel in enumerate(("trades", "quotes")):
            request = {"op": "subscribe", "id": number, "channel": channel, "instruments": ["*"]}
            await socket.send(orjson.dumps(request).decode())
        async for frame in socket:
            received_at, message = now(), orjson.loads(frame)
            if message["op"] == "update":
                data = message["data"]
                mark = data["trade_id"] if message["channel"] == "trades" else data["ts_event"]
                seen.got[message["instrument"], mark] = int(data["ts_recv"]), int(message["ts_out"]), received_at


def _instrument(symbol: str) -> str:
    """`CT Z26` as `IFUS:CT:202612`."""
    root, expiry = symbol.split(" ")
    mic = "IFEU" if root == "B" else "IFUS"
    return f"{mic}:{root}:20{expiry[1:]}{_MONTHS.index(expiry[0]) + 1:02}"


def _report(seen: _Seen) -> dict[str, object]:
    both = [(sent, *seen.got[key]) for key, sent in seen.sent.items() if key in seen.got]
    sent, received, out, receipt = np.array(both, np.int64).T
    trades = [key for key in seen.sent if not key[1].isdigit()]
    return {
        "messages_per_s": RATE,
        "seconds": MEASURE_S,
        "updates": len(both),
        **_percentiles("", receipt - sent, (50, 90, 99, 99.9, 100)),
        **_percentiles("venue_to_ingest_", received - sent, (50, 99)),
        **_percentiles("ingest_to_gateway_", out - received, (50, 99)),
        **_percentiles("gateway_to_client_", receipt - out, (50, 99)),
        "trades_sent": len(trades),
        "trades_not_received": sum(key not in seen.got for key in trades),
    }


def _percentiles(name: str, latency_ns: npt.NDArray[np.int64], percents: Sequence[float]) -> dict[str, float]:
    return {f"{name}p{q:g}_ms": round(float(np.percentile(latency_ns, q)) / 1e6, 3) for q in percents}
