"""Measure the gateway under load: latency from log append to client receipt, and CPU. Not a test.

Three processes: writer, gateway, clients. Every row is stamped just before its append; a few clients read the
stamps of all their messages, the others only swallow bytes, so that the clients' process is not what is measured.

    PYTHONPATH=.:tests python tests/gateway/gateway_load.py --clients 200 --rate 2000 --seconds 10
"""

import argparse
import asyncio
import json
import multiprocessing
import re
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop
from gateway_support import batch, quote, trade

from gateway.config import GatewayConfig
from gateway.server import serve
from market.topics import prices
from sinks.log import open_writer

STAMP = re.compile(rb'"ts_recv":"(\d+)"')
INSTRUMENTS = [f"XCEC:GC:2026{month:02}" for month in range(1, 13)]


def write(url: str, rate: int, seconds: float, every_s: float, warm: Any, started: Any) -> None:
    writer = open_writer(url)
    writer.append(prices("gold"), "ticks", batch("ticks", *(_row(n, 0) for n in range(48))))  # the topic exists
    writer.flush()
    warm.set()
    started.wait()
    per_append = max(1, round(rate * every_s))
    started_s = time.perf_counter()
    for n in range(round(rate * seconds / per_append)):
        while (left_s := started_s + n * per_append / rate - time.perf_counter()) > 0:
            time.sleep(left_s)
        first = n * per_append
        rows = [_row(tick, time.time_ns()) for tick in range(first, first + per_append)]
        writer.append(prices("gold"), "ticks", batch("ticks", *rows))
        writer.flush()
    writer.close()


def _row(tick: int, now_ns: int) -> dict[str, Any]:
    instrument = INSTRUMENTS[tick % len(INSTRUMENTS)]
    row = quote(tick, instrument) if tick % 4 else trade(tick, instrument)
    return row | {"ts_recv": now_ns}


def run_gateway(url: str, pipe: Any) -> None:
    async def main() -> None:
        stop = asyncio.Event()
        config = GatewayConfig(log_url=url, port=0, on_listening=lambda _, port: pipe.send(port))
        loop = asyncio.get_running_loop()
        loop.add_reader(pipe.fileno(), stop.set)
        await serve(config, time.time_ns, stop)

    uvloop.run(main())
    used = resource.getrusage(resource.RUSAGE_SELF)
    pipe.recv()
    pipe.send((used.ru_utime + used.ru_stime, used.ru_maxrss))


class Client(asyncio.Protocol):
    def __init__(self, latencies_ns: list[int] | None) -> None:
        self.latencies_ns = latencies_ns
        self.received_bytes = 0
        self.lost = False
        self._tail = b""

    def connection_made(self, transport: Any) -> None:
        head = (
            "GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        transport.write(head.encode())
        for number, channel in enumerate(("trades", "quotes")):
            text = json.dumps({"op": "subscribe", "id": number, "channel": channel, "instruments": ["*"]}).encode()
            transport.write(bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text)

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        if self.latencies_ns is not None:
            now_ns = time.time_ns()
            data = self._tail + data
            found = list(STAMP.finditer(data))
            self.latencies_ns += [now_ns - int(match[1]) for match in found if len(match[1]) > 1]
            self._tail = data[found[-1].end() :] if found else data

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.lost = True


async def follow(port: int, clients: int, seconds: float, started: Any) -> tuple[list[int], list[Client]]:
    loop = asyncio.get_running_loop()
    latencies_ns: list[int] = []
    everyone = [Client(latencies_ns if n < 3 else None) for n in range(clients)]
    for client in everyone:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.sleep(0.5)
    started.set()
    await asyncio.sleep(seconds + 1.5)
    return latencies_ns, everyone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--rate", type=int, default=2_000, help="rows a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--every-ms", type=float, default=1.0, help="rows of that long share an append")
    options = parser.parse_args()
    url = Path(tempfile.mkdtemp()).as_uri()
    here, there = multiprocessing.Pipe()
    warm, started = multiprocessing.Event(), multiprocessing.Event()
    arguments = (url, options.rate, options.seconds, options.every_ms / 1000, warm, started)
    writer = multiprocessing.Process(target=write, args=arguments)
    writer.start()
    warm.wait()
    gateway = multiprocessing.Process(target=run_gateway, args=(url, there))
    gateway.start()
    port = here.recv()
    latencies_ns, clients = uvloop.run(follow(port, options.clients, options.seconds, started))
    here.send("stop")
    cpu_s, rss_kib = here.recv()
    writer.join()
    gateway.join()
    _report(options, sorted(latencies_ns), clients, cpu_s, rss_kib)


def _report(options: Any, latencies_ns: list[int], clients: list[Client], cpu_s: float, rss_kib: int) -> None:
    def at(share: float) -> float:
        return round(latencies_ns[int((len(latencies_ns) - 1) * share)] / 1e6, 2)

    deliveries = options.clients * options.rate * options.seconds
    line = {
        "clients": options.clients,
        "rows_per_s": options.rate,
        "sampled": len(latencies_ns),
        "p50_ms": at(0.5),
        "p90_ms": at(0.9),
        "p99_ms": at(0.99),
        "max_ms": at(1.0),
        "cpu_percent": round(100 * cpu_s / options.seconds, 1),
        "cpu_us_per_delivery": round(cpu_s * 1e6 / deliveries, 2),
        "rss_mib": round(rss_kib / 1024),
        "received_mib": round(sum(client.received_bytes for client in clients) / 2**20),
        "lost": sum(client.lost for client in clients),
    }
    print(json.dumps(line))  # noqa: T201


if __name__ == "__main__":
    main()
