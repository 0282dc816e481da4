"""The command line: exit codes, one clear sentence for an error, and a summary that balances."""

import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from mandi.cli import duration_ns, main
from mandi.errors import UsageError
from mandi.flow_names import FLOWS, NAMED
from mandi.settings import load

ROOT = Path(__file__).resolve().parents[2]
GOLD = ROOT / "docs" / "examples" / "gold.csv"


@pytest.fixture(scope="module")
def where(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def mandi(postgres_dsn, clickhouse_url, where):
    """Run a command on the session's stores; nothing of it depends on the caller's environment."""

    def run(*words: str, timescale: str = postgres_dsn, clickhouse: str = clickhouse_url, **environment: str):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MANDI_")}
        stores = {"MANDI_TIMESCALE": timescale, "MANDI_CLICKHOUSE": clickhouse, "MANDI_DATA_DIR": str(where)}
        return subprocess.run(
            [sys.executable, "-m", "mandi", *words],
            cwd=ROOT,
            env={**kept, **stores, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def test_replay_ends_with_a_summary_that_balances(mandi) -> None:
    done = mandi("replay", str(GOLD))
    summary = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    assert summary["rows_in"] == sum(summary[name] for name in ("rows_out", "late", "rejected", "conflated")) > 0


@pytest.mark.parametrize("store", ["clickhouse", "timescale"])
@pytest.mark.parametrize("form", ["csv", "json", "table"])
def test_sql_answers_in_every_form(mandi, store, form) -> None:
    done = mandi("sql", "--store", store, "--format", form, "SELECT 1 AS one, 2 AS two")
    assert done.returncode == 0, done.stderr
    assert "one" in done.stdout
    assert "2" in done.stdout


@pytest.mark.parametrize("store", ["clickhouse", "timescale"])
@pytest.mark.parametrize("text", ["DROP TABLE market.late", "INSERT INTO market.late SELECT * FROM market.late"])
def test_sql_cannot_write(mandi, store, text) -> None:
    done = mandi("sql", "--store", store, text)
    assert done.returncode == 1
    assert sentences(done.stderr) == 1
    assert mandi("sql", "--store", store, "SELECT count(*) FROM market.late").returncode == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["replay", "nowhere.csv"], 1, "there is no such file"),
        (["replay", str(GOLD), "--interval", "2s"], 2, "choose among"),
        (["run", "candles"], 2, "there is no flow 'candles'"),
        (["run", "quality", "--processes", "2"], 2, "several workers: bars, book, timescale, clickhouse, mirror"),
        (["demo", "--scenario", "x"], 2, "no scenario"),
        (["ingest", "backend"], 2, "set MANDI_BACKEND_KAFKA or MANDI_BACKEND_OUTBOX"),
        (["ingest", "ice", "backend"], 2, "a process of its own"),
        (["simulate", "backend"], 2, "set MANDI_BACKEND_OUTBOX"),
        (["bench", "x"], 2, "no benchmark 'x'"),
        (["sql", "SELEC 1"], 1, "ClickHouse"),
        (["sql", "--store", "timescale", "SELEC 1"], 1, "TimescaleDB"),
    ],
)
def test_an_error_is_one_clear_sentence(mandi, words, code, said) -> None:
    done = mandi(*words)
    assert done.returncode == code
    assert said in done.stderr
    assert sentences(done.stderr) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        *((["simulate", "--rate", rate], f"'{rate}' is no rate") for rate in ("nan", "inf", "-1", "1e7", "x")),
        (["demo", "--rate", "nan"], "'nan' is no rate"),
        (["simulate", "--seed", "-5"], "'-5' is no seed"),
        (["forecast", "--horizon", "100000000000", "x"], "too many: at most 100,000"),
        (["run", "--processes", "9999999", "bars"], "'9999999' is too many: at most 256"),
        (["replay", "--batch-rows", "99999999999999999999", "x"], "too many: at most 1,000,000"),
        *((["prune", "--every", often], f"'{often}' is too often: at least 1s") for often in ("0", "999ms")),
    ],
)
def test_a_value_that_cannot_be_is_named_with_what_may(words, said, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"MANDI_LOG": "ftp://x"}, "the setting log is 'ftp://x'"),
        ({"MANDI_TIMESCALE": "mysql://u:secret@h/x"}, "the setting timescale is 'h/x'"),
        ({"MANDI_METRICS_PORT": "x"}, "the setting metrics_port is 'x'"),
        ({"MANDI_TIMESCALE": "postgresql://u:secret@h:99999/x"}, "the setting timescale is for 'h:99999'"),
        ({"MANDI_CLICKHOUSE": "http://u:secret@h:x/x"}, "the setting clickhouse is for 'h:x'"),
        ({"MANDI_LOG_GIB": "-1"}, "the setting log_gib is '-1'"),
        ({"MANDI_BACKEND_OUTBOX": "mysql://u:secret@h/x"}, "the setting backend_outbox is 'h/x'"),
        ({"MANDI_BACKEND_KAFKA": "h:9092/x"}, "the setting backend_kafka is 'h:9092/x'"),
        ({"MANDI_ICE_URL": "foo"}, "the setting ice_url is 'foo'; it must begin with ws:// or wss://"),
        ({"MANDI_ICE_URL": "wss://u:secret@/v1"}, "the setting ice_url is '/v1'; it names no host"),
        ({"MANDI_MCX_URL": "ws://h:0"}, "the setting mcx_url is for 'h:0'; it is host:port, a port"),
        ({"MANDI_MCX_REST_URL": "ws://h"}, "the setting mcx_rest_url is 'ws://h'"),
        ({"MANDI_MCX_REST_URL": "http://[::1"}, "the setting mcx_rest_url is for '[::1'"),
        ({"MANDI_LOG": "kafka://a:9092,b:x"}, "the setting log is for 'b:x'"),
        ({"MANDI_LOG": "kafka://[::1:9092"}, "the setting log is for '[::1:9092'"),
        ({"MANDI_LOG": "kafka://a:9092?acks=1"}, "the Kafka log has unknown options acks"),
        ({"MANDI_LOG": "kafka://u:secret@a:9092"}, "'a:9092' is not a Kafka log"),
        ({"MANDI_LOG": "kafka://a:9092?ssl_keyfile=/x"}, "the Kafka log's ssl_keyfile needs its ssl_certfile"),
        ({"MANDI_LOG": "kafka://a:9092?ssl_cafile=/nope"}, "ssl_cafile is '/nope': No such file or directory"),
        ({"MANDI_LOG": f"kafka://a:9092?ssl_cafile={GOLD}"}, f"{GOLD}': [X509: NO_CERTIFICATE_OR_CRL_FOUND]"),
        ({"MANDI_LOG": f"kafka://a:9092?ssl_certfile={ROOT}"}, f"ssl_certfile is '{ROOT}': Is a directory"),
        ({"MANDI_BACKEND_OUTBOX": "postgresql://u:secret@h:x/y"}, "the setting backend_outbox is for 'h:x'"),
        ({"MANDI_ALERT_WEBHOOK": "https://"}, "the setting alert_webhook is 'https://'; it names no host"),
        ({"MANDI_CLICKHOUSE": "http://u:secret@/x"}, "the setting clickhouse is '/x'; it names no host"),
    ],
)
def test_a_bad_setting_is_named_with_its_value(mandi, environment, said) -> None:
    done = mandi("migrate", **environment)
    assert done.returncode == 2
    assert said in done.stderr
    assert "secret" not in done.stderr
    assert sentences(done.stderr) == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("MANDI_TIMESCALE_URL", ": did you mean MANDI_TIMESCALE?"),
        ("MANDI_CLICKHOUSE_URL", ": did you mean MANDI_CLICKHOUSE?"),
        ("MANDI_JWT_SECRETFILE", ": did you mean MANDI_JWT_SECRET_FILE?"),
        ("MANDI_QQ", "; docs/settings.md has those there are; it is passed over"),
    ],
)
def test_a_variable_that_nothing_knows_is_told_and_passed_over(name: str, said: str, capsys) -> None:
    assert load(environment={name: "secret"}) == load(environment={})
    (line,) = capsys.readouterr().err.splitlines()
    assert f"the environment has the unknown setting {name}{said}" in line
    assert "secret" not in line


def test_variables_that_are_no_settings_of_ours_are_nobodys_business(capsys) -> None:
    environment = {"MANDI_UNSET": "", "MANDI": "x", "MANDIBLE_X": "x", "MANDI_TEST_ANYTHING": "x", "MANDI_SEAT": "x"}
    assert load(environment=environment) == load(environment={})
    assert capsys.readouterr().err == ""


def test_a_log_with_the_files_of_a_certificate_is_taken(tmp_path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    private, name = Ed25519PrivateKey.generate(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kafka")])
    begins = datetime(2026, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder(name, name, private.public_key(), 1, begins, begins.replace(year=2027))
    certificate.write_bytes(made.sign(private, None).public_bytes(Encoding.PEM))
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    log = f"kafka://a:9092?ssl_cafile={certificate}&ssl_certfile={certificate}&ssl_keyfile={key}"
    assert load(environment={"MANDI_LOG": log}).log == log
    with pytest.raises(UsageError, match="ssl_keyfile is "):
        load(environment={"MANDI_LOG": log.replace(str(key), str(tmp_path / "gone"))})
    with pytest.raises(UsageError, match="ssl_certfile"):  # a certificate whose key is in none of the files
        load(environment={"MANDI_LOG": f"kafka://a:9092?ssl_certfile={certificate}"})


def test_doctor_says_that_the_broker_is_down(mandi) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        done = mandi("doctor", MANDI_LOG=f"kafka://127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 1
    assert "BAD  the log cannot be reached" in done.stdout


def test_metrics_that_cannot_be_served_name_their_settings(mandi) -> None:
    done = mandi("run", "bars", MANDI_METRICS_HOST="192.0.2.1", MANDI_METRICS_PORT="9100")
    assert done.returncode == 1
    assert "metrics cannot be served on 192.0.2.1:9100" in done.stderr
    assert "MANDI_METRICS_HOST" in done.stderr
    assert sentences(done.stderr) == 1


@pytest.mark.parametrize(
    "address",
    [
        *("postgresql:///db?host=/run/postgresql", "postgresql://%2Frun%2Fpostgresql/db", "postgres://[::1]:5432/db"),
        *("postgresql://u:p@a:5432,b:5432/db", "postgresql://u@h/db?sslmode=require", "embedded"),
    ],
)
def test_an_address_that_can_be_is_taken(address) -> None:
    assert load(environment={"MANDI_TIMESCALE": address}).timescale == address


def test_wrong_usage_is_2(mandi) -> None:
    assert mandi("replay").returncode == 2
    assert mandi("fly").returncode == 2


def test_every_command_has_help(mandi) -> None:
    for command in ("demo", "simulate", "ingest", "run", "serve", "replay", "sql", "migrate", "doctor", "bench"):
        assert "--data-dir" in mandi(command, "--help").stdout


def test_the_help_of_run_names_every_flow(mandi) -> None:
    said = " ".join(mandi("run", "--help").stdout.split())
    assert f"{', '.join(FLOWS)} (default: all of these); {', '.join(NAMED)} only by name" in said


@pytest.mark.parametrize(
    ("text", "ns"), [("60s", 60 * 10**9), ("1.5m", 90 * 10**9), ("250ms", 250 * 10**6), ("5", 5 * 10**9)]
)
def test_durations(text, ns) -> None:
    assert duration_ns(text) == ns


def sentences(stderr: str) -> int:
    """Lines that are the command's error, and no traceback."""
    assert "Traceback" not in stderr
    return sum(line.startswith("mandi: ") for line in stderr.splitlines())
