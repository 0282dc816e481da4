"""The `mandi` command line (CONTRACTS.md section 2): parsing, and one sentence for every error."""

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Final

from mandi import __version__, settings
from mandi.errors import MandiError, UsageError
from mandi.flow_names import FLOWS, NAMED
from mandi.settings import Settings

Command = Callable[[Settings, argparse.Namespace], int]

_MOST_PER_SECOND: Final = 1e6
_MOST_WORKERS: Final = 256
_MOST_ROWS: Final = 1_000_000
_MOST_STEPS: Final = 100_000
_DURATION_UNITS: Final = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 0 done, 1 failed, 2 wrong usage."""
    parsed = _parser().parse_args(arguments)
    try:
        command: Command = parsed.command
        return command(settings.load(parsed.data_dir), parsed)
    except MandiError as error:
        print(f"mandi: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("mandi: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, `head` say, has seen enough
        sys.stderr.close()
        return 0
    except Exception as error:  # the outermost: what is known to go wrong is told in its own sentence
        if not isinstance(error, _told_in_a_sentence()):
            raise
        print(f"mandi: {error}", file=sys.stderr)
        return 1


def _told_in_a_sentence() -> tuple[type[Exception], ...]:
    from connectors.errors import FeedFailed
    from market.records import CorruptRecord, OffsetOutOfRange
    from market.segments import UnsupportedLog
    from pipelines.engine.recovery import PeerLost, RecoveryStoreFailed
    from sinks.errors import SinkError

    of_flows = (RecoveryStoreFailed, PeerLost)
    return SinkError, FeedFailed, CorruptRecord, OffsetOutOfRange, UnsupportedLog, *of_flows, OSError


def duration_ns(text: str) -> int:
    """Read `60s`, `1.5m`, `250ms` or plain seconds as ns; for argparse."""
    number = text.rstrip("nusmh")
    unit = text[len(number) :] or "s"
    try:
        value = float(number) * _DURATION_UNITS[unit]
    except (ValueError, KeyError):
        raise argparse.ArgumentTypeError(f"'{text}' is no duration such as 60s, 250ms or 2m") from None
    if not 0 <= value < 2**62:
        raise argparse.ArgumentTypeError(f"'{text}' is negative or too long")
    return round(value)


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < 1e9:
        raise argparse.ArgumentTypeError(f"'{text}' is no speed: 'max', or a factor such as 1 or 60")
    return speed


def _factor(text: str) -> float:
    speed = _speed(text)
    if speed is None:
        raise argparse.ArgumentTypeError("a live market has no speed 'max'")
    return speed


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= _MOST_PER_SECOND:
        raise argparse.ArgumentTypeError(f"'{text}' is no rate: messages per second, such as 400, up to a million")
    return rate


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is no seed: a whole number from 0 on")
    return int(text)


def _every_ns(text: str) -> int:
    every_ns = duration_ns(text)
    if every_ns < _DURATION_UNITS["s"]:
        raise argparse.ArgumentTypeError(f"'{text}' is too often: at least 1s, usually hours, such as 6h")
    return every_ns


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"'{text}' is no port from 0 to 65535")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is no positive whole number")
    return int(text)


def _up_to(most: int) -> Callable[[str], int]:
    """A positive whole number that is no slip of the finger: each process, thread or row costs something."""

    def number(text: str) -> int:
        found = _positive(text)
        if found > most:
            raise argparse.ArgumentTypeError(f"'{text}' is too many: at most {most:,}")
        return found

    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mandi", description="Market intelligence for commodity desks.")
    parser.add_argument("--version", action="version", version=f"mandi {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_services(commands)
    _add_replay(commands)
    _add_tools(commands)
    _add_keeping(commands)
    return parser


Commands = argparse._SubParsersAction  # argparse has no public name for it


def _add(
    commands: "Commands[argparse.ArgumentParser]", name: str, text: str, command: Command
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--data-dir", type=Path, help="where everything is kept (MANDI_DATA_DIR, else .mandi)")
    parser.set_defaults(command=command)
    return parser


def _add_demo(commands: "Commands[argparse.ArgumentParser]") -> None:
    demo = _add(commands, "demo", "Run the whole pipeline on a simulated market, with a dashboard.", _demo)
    demo.add_argument("--port", type=_port, default=8080, help="of the dashboard; 0 takes a free one")
    demo.add_argument("--seed", type=_seed, default=7, help="of the simulated market")
    demo.add_argument("--rate", type=_rate, default=400.0, help="messages per second of the venue")
    demo.add_argument("--events", type=_factor, default=2.0, help="events per second of the trading backend")
    demo.add_argument("--speed", type=_factor, default=1.0, help="market seconds per second")
    demo.add_argument("--duration", type=duration_ns, help="stop by itself after this time, such as 30s")
    settle = "at the end, let nothing more happen for this long, so that what was lost on the way is repeated"
    demo.add_argument("--settle", type=duration_ns, default=0, help=settle)
    _add_scenario(demo)


def _add_scenario(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scenario", metavar="NAME,...", help="what is to go wrong (docs/market-model.md)")


def _add_services(commands: "Commands[argparse.ArgumentParser]") -> None:
    simulate = _add(
        commands,
        "simulate",
        "Serve simulated venues (default: all with an address), or the trading backend.",
        _simulate,
    )
    simulate.add_argument("venues", nargs="*", metavar="VENUE|backend")
    simulate.add_argument("--port", type=_port, default=8765, help="of ICE")
    simulate.add_argument("--seed", type=_seed, default=7)
    simulate.add_argument("--rate", type=_rate, default=400.0, help="messages per second of all venues together")
    simulate.add_argument("--events", type=_factor, default=2.0, help="events per second of the trading backend")
    _add_scenario(simulate)
    simulate.add_argument("--record", type=Path, metavar="FILE", help="play a recorded CSV instead of the model")
    ingest = _add(
        commands, "ingest", "Connect to venues (default: all), or to the trading backend, and write the log.", _ingest
    )
    ingest.add_argument("venues", nargs="*", metavar="VENUE|backend")
    run = _add(
        commands,
        "run",
        f"Run dataflows: {', '.join(FLOWS)} (default: all of these); {', '.join(NAMED)} only by name.",
        _run,
    )
    run.add_argument("flows", nargs="*", metavar="FLOW")
    run.add_argument(
        "--processes", type=_up_to(_MOST_WORKERS), default=1, metavar="N", help="a flow runs in, as one group"
    )
    run.add_argument("--workers", type=_up_to(_MOST_WORKERS), default=1, metavar="M", help="threads of each process")
    _add_lateness(run)
    serve = _add(commands, "serve", "Run the gateway: WebSocket, REST and the dashboard.", _serve)
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=_port, default=8080)


def _add_lateness(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--allowed-lateness", type=duration_ns, default=60 * 10**9, metavar="60s")
    parser.add_argument("--watermark-delay", type=duration_ns, default=10**9, metavar="1s")


def _add_replay(commands: "Commands[argparse.ArgumentParser]") -> None:
    replay = _add(commands, "replay", "Replay trades and quotes from CSV or Parquet files into both stores.", _replay)
    replay.add_argument("files", nargs="+", type=Path, metavar="FILE")
    replay.add_argument("--speed", type=_speed, default=None, metavar="max|X", help="market seconds per second")
    replay.add_argument("--interval", default=None, metavar="1s,1m,...", help="bar widths (default: all)")
    replay.add_argument("--batch-rows", type=_up_to(_MOST_ROWS), default=20_000, help="rows per micro-batch")
    replay.add_argument("--workers", type=_up_to(_MOST_WORKERS), default=1, help="Bytewax workers")
    _add_lateness(replay)


def _add_tools(commands: "Commands[argparse.ArgumentParser]") -> None:
    sql = _add(commands, "sql", "Ask a store.", _sql)
    sql.add_argument("query", metavar='"SELECT ..."')
    sql.add_argument("--store", choices=["clickhouse", "timescale"], default="clickhouse")
    sql.add_argument("--format", choices=["table", "csv", "json", "parquet"], default="table")
    detect = _add(
        commands, "detect", "Score every row of a CSV of timestamp,value: how unlike its past it is.", _detect
    )
    detect.add_argument("file", type=Path, metavar="FILE.csv")
    detect.add_argument("--out", type=Path, metavar="F", help="write there instead of standard output")
    forecast = _add(
        commands, "forecast", "Forecast every series of a CSV of unique_id,ds,y, with intervals.", _forecast
    )
    forecast.add_argument("file", type=Path, metavar="FILE.csv")
    forecast.add_argument("--horizon", type=_up_to(_MOST_STEPS), required=True, metavar="H", help="steps ahead")
    forecast.add_argument(
        "--season",
        type=_up_to(_MOST_STEPS),
        metavar="M",
        help="steps in a season (default: by the stamps, else by the values)",
    )
    forecast.add_argument("--out", type=Path, metavar="F", help="write there instead of standard output")
    _add_parity(commands)
    _add(commands, "migrate", "Bring the schemas of both stores up to date.", _migrate)
    _add(commands, "doctor", "Check the installation and say what to do.", _doctor)
    bench = _add(commands, "bench", "Run a benchmark (default: list them).", _bench)
    bench.add_argument("name", nargs="?", metavar="NAME")


def _add_parity(commands: "Commands[argparse.ArgumentParser]") -> None:
    parity = _add(commands, "parity", "Show what a foreign price costs in India, and what is left of a gap.", _parity)
    parity.add_argument("product", metavar="PRODUCT", help="a root of MCX, such as GOLD, or a commodity")
    parity.add_argument(
        "--price", metavar="P", help="of the foreign contract, as it is quoted (default: from the stores)"
    )
    parity.add_argument("--fx", metavar="F", help="INR per USD")
    parity.add_argument("--local", metavar="P", help="of the Indian contract")
    parity.add_argument("--month", type=_month, metavar="YYYYMM", help="of the Indian contract (default: the next two)")
    parity.add_argument("--on", type=_date, metavar="DATE", help="whose duties and fees (default: today)")
    parity.add_argument("--json", action="store_const", const=True, help="values as JSON")


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no date such as 2026-11-21") from None


def _month(text: str) -> str:
    if len(text) != 6 or not text.isdigit() or not 1 <= int(text[4:]) <= 12:
        raise argparse.ArgumentTypeError(f"'{text}' is no month such as 202612")
    return text


def _add_keeping(commands: "Commands[argparse.ArgumentParser]") -> None:
    text = "Compare both stores by row hash per table, instrument and day; name the first difference."
    reconcile = _add(commands, "reconcile", text, _reconcile)
    reconcile.add_argument(
        "--wall-clock", action="store_true", help="compare ts_recv and as_known_at, too: they differ between two runs"
    )
    backup = _add(commands, "backup", "Copy the rows of both stores and the flows' positions to a directory.", _backup)
    backup.add_argument("directory", type=Path, metavar="DIR", help="is made by it")
    restore = _add(commands, "restore", "Put a backup into an installation whose stores are empty.", _restore)
    restore.add_argument("directory", type=Path, metavar="DIR")
    text = "Delete trades, quotes and books older than raw_days from both stores, by whole months."
    prune = _add(commands, "prune", text, _prune)
    prune.add_argument("--every", type=_every_ns, metavar="TIME", help="again and again, such as 6h (default: once)")
    rebuild = _add(
        commands, "rebuild", "Make flows (default: all but webhooks) start again at the beginning of the log.", _rebuild
    )
    rebuild.add_argument("flows", nargs="*", metavar="FLOW")
    rebuild.add_argument("--stores", action="store_true", help="delete the rows of both stores, too")
    rebuild.add_argument("--yes-delete-all-rows", action="store_true", help="what --stores needs")


# What a command needs is imported when it runs: `mandi --help` answers at once.


def _demo(found: Settings, parsed: argparse.Namespace) -> int:
    from mandi.demo import DemoOptions, demo

    options = DemoOptions(
        port=parsed.port,
        seed=parsed.seed,
        rate=parsed.rate,
        events=parsed.events,
        speed=parsed.speed,
        duration_s=None if parsed.duration is None else parsed.duration / 1e9,
        settle_s=parsed.settle / 1e9,
        scenarios=_scenarios(parsed.scenario),
    )
    return demo(found, options)


def _scenarios(text: str | None) -> tuple[str, ...]:
    from feeds_simulator.scenarios import UnknownScenario, parse

    try:
        return parse(text)
    except UnknownScenario as error:
        raise UsageError(str(error)) from error


def _simulate(found: Settings, parsed: argparse.Namespace) -> int:
    from mandi.trading import TradingOptions, simulate_backend
    from mandi.venue import SimulateOptions, simulate

    if parsed.venues == ["backend"]:
        simulate_backend(found, TradingOptions(seed=parsed.seed, rate=parsed.events))
        return 0
    options = SimulateOptions(
        port=parsed.port,
        seed=parsed.seed,
        rate=parsed.rate,
        venues=tuple(parsed.venues),
        scenarios=_scenarios(parsed.scenario),
        record=parsed.record,
    )
    simulate(found, options)
    return 0


def _ingest(found: Settings, parsed: argparse.Namespace) -> int:
    from mandi.flows import ingest_named

    ingest_named(found, parsed.venues)
    return 0


def _run(found: Settings, parsed: argparse.Namespace) -> int:
    from mandi.cluster import ALONE, ClusterSize, run_cluster
    from mandi.flows import lateness_words, run_one, run_several

    flows, size = parsed.flows or list(FLOWS), ClusterSize(processes=parsed.processes, workers=parsed.workers)
    if len(flows) > 1:
        run_several(found, flows, _lateness(parsed), size)
    elif size == ALONE:
        run_one(found, flows[0], _lateness(parsed))
    else:
        run_cluster(found, flows[0], size, lateness_words(_lateness(parsed)))
    return 0


def _serve(found: Settings, parsed: argparse.Namespace) -> int:
    from mandi.serving import ServeOptions, serve

    serve(found, ServeOptions(host=parsed.host, port=parsed.port))
    return 0


def _replay(found: Settings, parsed: argparse.Namespace) -> int:
    from mandi.replaying import ReplayOptions, replay

    options = ReplayOptions(
        files=parsed.files,
        speed=parsed.speed,
        intervals=_intervals(parsed.interval),
        lateness=_lateness(parsed),
        batch_rows=parsed.batch_rows,
        workers=parsed.workers,
    )
    return replay(found, options)


def _sql(found: Settings, parsed: argparse.Namespace) -> int:
    from mandi.sql import query

    return query(found, parsed.store, parsed.query, parsed.format)


def _detect(found: Settings, parsed: argparse.Namespace) -> int:  # noqa: ARG001
    from mandi.detecting import detect

    return detect(parsed.file, parsed.out)


def _forecast(found: Settings, parsed: argparse.Namespace) -> int:  # noqa: ARG001
    from mandi.forecasting import forecast

    return forecast(parsed.file, parsed.horizon, parsed.season, parsed.out)


def _parity(found: Settings, parsed: argparse.Namespace) -> int:
    from mandi.laddering import ParityOptions, parity

    options = ParityOptions(
        product=parsed.product,
        price=parsed.price,
        fx=parsed.fx,
        local=parsed.local,
        month=parsed.month,
        on=parsed.on,
        as_json=bool(parsed.json),
    )
    return parity(found, options)


def _migrate(found: Settings, parsed: argparse.Namespace) -> int:  # noqa: ARG001
    from mandi.stores import migrate_stores, open_stores

    with open_stores(found, migrate=False) as stores:
        applied = migrate_stores(stores)
    print("\n".join(f"applied {name}" for name in applied) or "both stores are up to date")
    return 0


def _doctor(found: Settings, parsed: argparse.Namespace) -> int:  # noqa: ARG001
    from mandi.doctor import doctor

    return doctor(found)


def _reconcile(found: Settings, parsed: argparse.Namespace) -> int:
    from mandi.reconciling import report

    return report(found, wall_clock=parsed.wall_clock)


def _backup(found: Settings, parsed: argparse.Namespace) -> int:
    from mandi.keeping import backup

    return backup(found, parsed.directory)


def _restore(found: Settings, parsed: argparse.Namespace) -> int:
    from mandi.keeping import restore

    return restore(found, parsed.directory)


def _prune(found: Settings, parsed: argparse.Namespace) -> int:
    from mandi.pruning import prune

    return prune(found, None if parsed.every is None else parsed.every / 1e9)


def _rebuild(found: Settings, parsed: argparse.Namespace) -> int:
    from mandi.keeping import rebuild

    return rebuild(found, parsed.flows, stores=parsed.stores, delete_rows=parsed.yes_delete_all_rows)


def _bench(found: Settings, parsed: argparse.Namespace) -> int:
    from mandi.bench import bench

    return bench(found, parsed.name)


def _lateness(parsed: argparse.Namespace):  # type: ignore[no-untyped-def]
    from market.watermark import Lateness

    return Lateness(delay_ns=parsed.watermark_delay, allowed_ns=parsed.allowed_lateness)


def _intervals(text: str | None) -> tuple[str, ...]:
    from market.schemas import INTERVALS_NS

    if text is None:
        return tuple(INTERVALS_NS)
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in INTERVALS_NS]
    if unknown or not names:
        raise UsageError(f"--interval '{text}': choose among {', '.join(INTERVALS_NS)}")
    return names
