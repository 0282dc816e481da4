"""The embedded PostgreSQL through its life: start, adopt, stop, kill, and the foreground mode."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sinks.embedded import postgres
from sinks.embedded.access import can_search
from sinks.embedded.postgres import EmbeddedPostgres
from sinks.embedded.processes import alive, wait_until
from sinks.errors import EmbeddedServerError


@pytest.fixture
def server(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    own = EmbeddedPostgres(data_dir)
    yield own
    own.stop()


def ask(dsn: str, question: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(question).fetchone()  # type: ignore[arg-type]
    return None if row is None else row[0]


def test_a_server_keeps_port_password_and_data(server: EmbeddedPostgres) -> None:
    dsn = server.start()
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS a")
    server.stop()
    assert server.pid is None
    assert server.start() == dsn
    assert ask(dsn, "SELECT count(*) FROM kept") == 1


def test_a_running_server_is_adopted(server: EmbeddedPostgres, data_dir: Path) -> None:
    dsn, pid = server.start(), server.pid
    other = EmbeddedPostgres(data_dir)
    assert (other.start(), other.pid) == (dsn, pid)
    other.stop()
    assert server.pid is None


def test_settings_and_who_may_connect(server: EmbeddedPostgres) -> None:
    dsn = server.start()
    for name, value in {"timezone": "UTC", "synchronous_commit": "on", "listen_addresses": "127.0.0.1"}.items():
        assert ask(dsn, f"SHOW {name}") == value
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(dsn.replace(dsn.split(":")[2].split("@")[0], "wrong"))
    assert (server.data_dir / "postgres.json").stat().st_mode & 0o077 == 0
    assert (server.data_dir / "postgres.dsn").stat().st_mode & 0o077 == 0


def test_a_killed_server_starts_again_with_its_data(server: EmbeddedPostgres) -> None:
    dsn = server.start()
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS a")
        connection.commit()
        pid = server.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    assert server.start() == dsn
    assert ask(dsn, "SELECT count(*) FROM kept") == 1


DAMAGED = ["", "{", "[]", "null", "\udcff", '{"port": "x", "password": "y"}', '{"port": "99999", "password": "y"}']


def damage(path: Path, text: str) -> None:
    path.write_bytes(text.encode(errors="surrogateescape"))


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_file_of_settings_is_made_anew_from_the_connection_string(
    postgres_server: EmbeddedPostgres, text: str
) -> None:
    file = postgres_server.data_dir / "postgres.json"
    dsn, right = postgres_server.dsn, file.read_text()
    damage(file, text)
    assert postgres_server.damage is None
    assert EmbeddedPostgres(postgres_server.data_dir).start() == dsn
    assert file.read_text() == right


def test_where_no_file_tells_the_password_it_says_so(server: EmbeddedPostgres, data_dir: Path) -> None:
    server.start()
    kept = {name: (data_dir / name).read_text() for name in ("postgres.json", "postgres.dsn")}
    for name in kept:
        damage(data_dir / name, "")
    for running in (True, False):
        assert server.damage is not None
        assert "put one of them back" in server.damage.advice
        with pytest.raises(EmbeddedServerError, match=r"neither postgres\.json nor postgres\.dsn tells"):
            EmbeddedPostgres(data_dir).start()
        if running:
            server.stop()
    (data_dir / "postgres.dsn").write_text(kept["postgres.dsn"])
    assert server.start() == kept["postgres.dsn"].strip()


def test_a_taken_port_is_exchanged(server: EmbeddedPostgres, data_dir: Path) -> None:
    dsn = server.start()
    server.stop()
    thief = EmbeddedPostgres(data_dir.with_name("other"))
    thief.start()
    (data_dir / "postgres.json").write_text(
        (data_dir / "postgres.json")
        .read_text()
        .replace(dsn.split(":")[3].split("/")[0], thief.dsn.split(":")[3].split("/")[0])
    )
    assert ask(server.start(), "SELECT 1") == 1
    assert server.dsn.split("@")[1] != thief.dsn.split("@")[1]
    thief.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
def test_a_private_parent_opens_for_the_system_user_alone(data_dir: Path) -> None:
    private = data_dir.parent / "private"
    private.mkdir(mode=0o700)
    server = EmbeddedPostgres(private / "data")
    assert ask(server.start(), "SELECT 1") == 1
    server.stop()
    uid = (private / "data" / "postgres").stat().st_uid
    assert can_search(private, uid)
    assert not can_search(private, uid + 1)
    assert private.stat().st_mode & 0o007 == 0


def test_the_foreground_mode_ends_with_its_server(data_dir: Path) -> None:
    command = [sys.executable, "-m", "sinks.embedded.postgres", "--data-dir", str(data_dir)]
    with subprocess.Popen(command) as process:
        server = EmbeddedPostgres(data_dir)
        assert wait_until(lambda: (data_dir / "postgres.dsn").exists(), 30)
        assert ask(server.dsn, "SELECT 1") == 1
        process.terminate()
        assert process.wait(10) == 0
    assert server.pid is None


@pytest.mark.parametrize("whole", [True, False], ids=["server", "backend"])
def test_the_foreground_mode_kills_what_is_frozen(whole: bool, data_dir: Path) -> None:
    """All of it, and then it ends; or what serves one client, and the server goes on."""
    command = [sys.executable, "-m", "sinks.embedded.postgres", "--data-dir", str(data_dir)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        server = EmbeddedPostgres(data_dir)
        assert wait_until(lambda: (data_dir / "postgres.dsn").exists(), 30)
        with psycopg.connect(server.dsn) as client:
            frozen = server.pid if whole else client.info.backend_pid
            assert frozen is not None
            os.kill(frozen, signal.SIGSTOP)
            assert wait_until(lambda: not alive(frozen), 30)
            client.close()
        if whole:
            assert process.wait(30) == 1
        else:
            assert wait_until(lambda: answers(server), 30)
            process.terminate()
            assert process.wait(20) == 0
        assert process.stderr is not None
        assert f"process {frozen} of the server did not move; killed" in process.stderr.read()
    assert server.pid is None


def answers(server: EmbeddedPostgres) -> bool:
    try:
        return ask(server.dsn, "SELECT 1") == 1
    except psycopg.OperationalError:
        return False


def test_a_frozen_server_that_nobody_watches_is_replaced_by_the_next_start(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed supervisor leaves it so: a connection would be taken, and never answered."""
    monkeypatch.setattr(postgres, "CONNECT_TIMEOUT_S", 2)
    server, other = EmbeddedPostgres(data_dir), EmbeddedPostgres(data_dir)
    with psycopg.connect(server.start()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
    frozen = server.pid
    assert frozen is not None
    os.kill(frozen, signal.SIGSTOP)
    assert ask(other.start(), "SELECT n FROM kept") == 7
    assert server.pid not in (None, frozen)
    other.stop()


def test_told_to_end_while_it_starts_the_foreground_mode_leaves_nothing(data_dir: Path) -> None:
    command = [sys.executable, "-m", "sinks.embedded.postgres", "--data-dir", str(data_dir)]
    with subprocess.Popen(command) as process:
        server = EmbeddedPostgres(data_dir)
        assert wait_until(lambda: server.pid is not None, 30)  # the server has begun, and is not ready yet
        process.terminate()
        assert process.wait(10) == 0
    assert server.pid is None
    assert not list(data_dir.glob("postgres/postmaster.pid"))
