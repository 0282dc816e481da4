"""What processes say of themselves, read off their own /metrics; and the gateway that passes it on."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from gateway_running import gateway
from gateway_tokens import NOW_S, SECRET, token
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from gateway.config import AuthConfig
from mandi.health import health


def flow(consumer: str, late: int) -> bytes:
    registry = CollectorRegistry()
    judged = Counter("mandi_judged_rows_total", "of a test", ["consumer", "outcome"], registry=registry)
    for outcome, rows in (("rows_in", 110), ("rows_out", 100), ("late", late)):
        judged.labels(consumer, outcome).inc(rows)
    Gauge("mandi_held_rows", "of a test", ["consumer"], registry=registry).labels(consumer).set(10 - late)
    return generate_latest(registry)


def ingest() -> bytes:
    registry = CollectorRegistry()
    rows = Counter("mandi_rows_total", "of a test", ["stage", "venue"], registry=registry)
    rows.labels("ingest", "XIMC").inc(7)
    rows.labels("ingest", "XCEC").inc(5)
    rows.labels("trades", "all").inc(9)
    Counter("mandi_gaps_total", "of a test", ["venue"], registry=registry).labels("XCEC").inc(2)
    Gauge("mandi_watermark_lag_seconds", "of a test", ["venue"], registry=registry).labels("XCEC").set(0.25)
    return generate_latest(registry)


@contextmanager
def processes(folder: Path, **texts: bytes | None) -> Iterator[Path]:
    """Serve each text on a port of its own, as a process would; None: nobody listens."""
    servers, groups = [], []
    for name, text in texts.items():

        class Handler(BaseHTTPRequestHandler):
            body = text or b""

            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(self.body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        groups.append({"targets": [f"127.0.0.1:{server.server_port}"], "labels": {"service": name}})
        if text is None:
            server.server_close()
            continue
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
    targets = folder / "targets.json"
    targets.write_text(json.dumps(groups))
    try:
        yield targets
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def test_processes_are_asked_and_who_is_down_is_told(tmp_path: Path) -> None:
    with processes(
        tmp_path, bars=flow("bars", 4), timescale=flow("timescale", 0), ingest=ingest(), gone=None
    ) as targets:
        found = health(targets)
    assert found["balance"] == [
        {"consumer": "bars", "rows_in": 110, "rows_out": 100, "late": 4, "rejected": 0, "held": 6, "conflated": 0},
        {
            "consumer": "timescale",
            "rows_in": 110,
            "rows_out": 100,
            "late": 0,
            "rejected": 0,
            "held": 10,
            "conflated": 0,
        },
    ]
    assert found["venues"] == [
        {"venue": "XCEC", "rows": 5, "gaps": 2, "lag_s": 0.25, "skew_s": 0.0},
        {"venue": "XIMC", "rows": 7, "gaps": 0, "lag_s": None, "skew_s": 0.0},
    ]
    assert found["processes"] == [
        {"process": name, "up": name != "gone", "restarts": 0} for name in ("bars", "timescale", "ingest", "gone")
    ]


@pytest.mark.parametrize("text", [None, "", "{", "[]", "null", "[1]", '[{"labels": {}}]'])
def test_where_nobody_was_named_there_is_nothing_to_tell(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "targets.json").write_text(text)
    found = health(tmp_path / "targets.json")
    assert (found["balance"], found["venues"], found["processes"]) == ([], [], [])


@pytest.mark.parametrize(("channels", "code"), [(["status"], 200), (["trades"], 403)])
def test_the_gateway_asks_once_for_many_and_tells_of_granted_venues(
    tmp_path: Path, channels: list[str], code: int
) -> None:
    asked = []

    def report() -> dict[str, Any]:
        asked.append(1)
        return {"balance": [], "venues": [{"venue": "XCEC"}, {"venue": "XIMC"}]}

    async def run() -> None:
        auth = AuthConfig(secret=SECRET)
        async with gateway(tmp_path, auth=auth, wall_s=lambda: NOW_S, health=report) as running:
            headers = {"Authorization": f"Bearer {token(mandi_channels=channels)}"}
            answers = [await running.get("/v1/health", **headers) for _ in range(3)]
            assert [answer[0] for answer in answers] == [code] * 3
            if code == 200:
                assert json.loads(answers[0][2])["venues"] == [{"venue": "XCEC"}]
            assert len(asked) == (code == 200)

    asyncio.run(run())
