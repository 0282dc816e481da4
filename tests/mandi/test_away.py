"""A store that is away when something of ours starts: what needs none starts, what needs one waits, and says so."""

import json
import signal
import socketserver
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from conftest import new_database
from toxic_proxy import ToxicProxy, toxic_proxy

from mandi.errors import MandiError
from mandi.scrape import scrape
from mandi.settings import load
from mandi.stores import open_stores
from sinks.embedded.processes import free_port
from tests.acceptance.command import start
from tests.chaos.harness import Flows, append, until
from tests.chaos.market import Market
from tests.chaos.test_demo import demo

BARS = "/v1/bars?instrument=XCEC:GC:202612&interval=1s"


@pytest.fixture
def fresh(postgres_dsn: str) -> str:
    """A database without tables."""
    return new_database(postgres_dsn, "awaited")


@pytest.fixture
def away(fresh: str) -> str:
    """Where `fresh` is to be, and nobody listens yet."""
    return fresh.replace(f":{urlsplit(fresh).port}", f":{free_port()}")


@contextmanager
def there(fresh: str, away: str) -> Iterator[ToxicProxy]:
    """While inside, it is."""
    with toxic_proxy(urlsplit(fresh).port or 0, at=urlsplit(away).port or 0) as proxy:
        yield proxy


def test_a_flow_whose_store_is_away_waits_for_it_and_holds_up_no_other(fresh: str, away: str, tmp_path: Path) -> None:
    market, log = Market(seed=5), tmp_path / "logs" / "timescale.log"
    commands = {"both": ("run", "bars", "timescale")}
    with Flows(tmp_path, {"MANDI_TIMESCALE": away}, commands=commands) as flows:
        append(flows.url, market, 20)
        flows.start("both")
        until(lambda: flows.end_of() > 0 and "timescale is unavailable" in log.read_text())
        flows.stop("both")
        assert "did not stop" not in flows.said("both")
        assert not (tmp_path / "clickhouse").exists()  # nobody needs it

        flows.start("timescale", metrics=True)
        until(lambda: waits(flows) == 1)
        with there(fresh, away):
            until(lambda: waits(flows) == 0)
            flows.stop("timescale")
    oracles = market.oracles.values()
    kinds = ("trade", "bust", "correction")
    with psycopg.connect(fresh) as connection:
        rows = connection.execute("SELECT count(*) FROM market.trades").fetchone()
    assert rows == (sum(oracle.accepted_kinds[kind] for oracle in oracles for kind in kinds),)


def waits(flows: Flows) -> float | None:
    found = scrape(flows.metrics)
    return (
        found.by_label("mandi_sink_away", "sink").get("timescale") if found.total("mandi_sink_retries_total") else None
    )


def test_the_gateway_serves_what_comes_from_the_log_while_its_store_is_away(
    fresh: str, away: str, tmp_path: Path
) -> None:
    port = free_port()
    commands = {"gateway": ("serve", "--port", str(port))}
    with Flows(tmp_path, {"MANDI_TIMESCALE": away}, commands=commands) as flows:
        append(flows.url, Market(seed=5), 20)
        flows.start("gateway")
        until(lambda: "XCEC:GC:202612" in str(answer(port, "/v1/instruments")))
        status, said = answer(port, BARS)
        assert (status, said["error"]["code"]) == (503, "store_unavailable")
        with there(fresh, away):
            until(lambda: answer(port, BARS) == (200, []))
            flows.stop("gateway")


def test_pruning_waits_for_a_store_that_is_away(fresh: str, away: str, clickhouse_url: str, tmp_path: Path) -> None:
    commands = {"prune": ("prune", "--every", "1h")}
    stores = {"MANDI_TIMESCALE": away, "MANDI_CLICKHOUSE": clickhouse_url}
    with Flows(tmp_path, stores, commands=commands) as flows:
        flows.start("prune")
        until(lambda: "timescale is not available" in flows.said("prune"))
        with there(fresh, away):
            until(lambda: "ClickHouse: deleted what is before" in flows.said("prune"))
            flows.stop("prune")


def test_a_demo_waits_for_a_store_that_is_away_and_goes_on(
    fresh: str, away: str, clickhouse_url: str, data_dir: Path
) -> None:
    stores = {"MANDI_TIMESCALE": away, "MANDI_CLICKHOUSE": clickhouse_url}
    with demo(data_dir, "--rate", "20", env=stores) as running:
        waiting = f"waiting for timescale at {away.rpartition('@')[2]}: "
        until(lambda: any(line.startswith(waiting) for line in running.said))
        with there(fresh, away):
            until(running.is_up)
            assert "timescale is there" in running.said
            running.interrupt()


def test_a_demo_that_waits_for_a_store_ends_on_ctrl_c_and_is_refused_at_once(
    postgres_dsn: str, away: str, data_dir: Path
) -> None:
    stores = {"MANDI_TIMESCALE": away, "MANDI_CLICKHOUSE": f"http://127.0.0.1:{free_port()}"}
    with demo(data_dir, env=stores) as running:
        until(lambda: any("Ctrl-C ends it" in line for line in running.said))
        running.process.send_signal(signal.SIGINT)
        assert running.finish() == 130
        assert running.said[-1] == "mandi: interrupted"
    with demo(data_dir, env={**stores, "MANDI_TIMESCALE": refusing(postgres_dsn, "password")}) as running:
        assert running.finish() == 1
        assert running.said[-1].startswith("mandi: timescale refuses us: ")


def answer(port: int, path: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as found:
            return found.status, json.load(found)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
    except urllib.error.URLError:
        return 0, None


def refusing(dsn: str, how: str) -> str:
    return dsn.replace("@", "x@", 1) if how == "password" else f"{dsn.rpartition('/')[0]}/nowhere"


@pytest.mark.parametrize("words", [("run", "bars", "timescale"), ("run", "timescale"), ("serve", "--port", "0")])
def test_what_starts_on_a_store_that_refuses_it_says_so_and_ends(
    postgres_dsn: str, tmp_path: Path, words: tuple[str, ...]
) -> None:
    wrong = refusing(postgres_dsn, "password")
    process = start(*words, env={"MANDI_TIMESCALE": wrong, "MANDI_DATA_DIR": str(tmp_path)})
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert said.splitlines()[-1].startswith("mandi: timescale refuses us: ")
    assert "correct MANDI_TIMESCALE" in said
    assert "Traceback" not in said
    assert wrong not in said


@pytest.mark.parametrize("how", ["password", "database"])
def test_a_refusal_is_no_outage(postgres_dsn: str, tmp_path: Path, how: str) -> None:
    settings = load(tmp_path, {"MANDI_TIMESCALE": refusing(postgres_dsn, how)})
    with (
        pytest.raises(MandiError, match="timescale refuses us"),
        open_stores(settings, only=("timescale",), may_be_away=True),
    ):
        pass


@contextmanager
def clickhouse_that_says(status: int, code: str) -> Iterator[str]:
    """Stands for a server that answers everything with an error: there is none of another version to log in to."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("X-ClickHouse-Exception-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_clickhouse_that_refuses_us_is_not_waited_for_and_one_that_is_busy_is(tmp_path: Path) -> None:
    def opened(url: str) -> frozenset[str]:
        settings = load(tmp_path, {"MANDI_CLICKHOUSE": url})
        with open_stores(settings, only=("clickhouse",), may_be_away=True) as stores:
            return stores.away

    with clickhouse_that_says(403, "516") as url, pytest.raises(MandiError, match="clickhouse refuses us"):
        opened(url)
    with clickhouse_that_says(500, "202") as url:
        assert opened(url) == {"clickhouse"}
    assert opened(f"http://127.0.0.1:{free_port()}") == {"clickhouse"}


@contextmanager
def postgres_that_says(sqlstate: str) -> Iterator[str]:
    """Stands for a server in a state that a real one is in for milliseconds."""
    fields = "SFATAL", "VFATAL", f"C{sqlstate}", "Mnot now", ""
    text = b"".join(field.encode() + b"\0" for field in fields)

    class Refuses(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1_000)
            self.request.sendall(b"E" + (4 + len(text)).to_bytes(4, "big") + text)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"postgresql://x@127.0.0.1:{server.server_address[1]}/x?sslmode=disable&gssencmode=disable"
        server.shutdown()


def test_a_postgresql_that_starts_or_is_mute_is_waited_for(
    fresh: str, away: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinks.migrations._ASK_TIMEOUT_S", 2)  # the least that libpq knows
    monkeypatch.setattr("sinks.failures._PING_TIMEOUT_S", 2)

    def opened(dsn: str) -> frozenset[str]:
        settings = load(tmp_path, {"MANDI_TIMESCALE": dsn})
        with open_stores(settings, only=("timescale",), may_be_away=True) as stores:
            return stores.away

    with postgres_that_says("57P03") as dsn:
        assert opened(dsn) == {"timescale"}
    with there(fresh, away) as proxy:
        proxy.silent = True
        assert opened(away) == {"timescale"}
        proxy.silent = False
        assert opened(away) == frozenset()
