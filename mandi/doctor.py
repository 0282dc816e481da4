"""`mandi doctor`: check the installation, one line a finding, each with what to do about it."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connectors.log import describe, open_reader
from mandi.clock import FileClock
from mandi.disks import disks, free_bytes
from mandi.errors import MandiError
from mandi.running import Process, processes
from mandi.scrape import Metrics, scrape
from mandi.serving import bundle_dir
from mandi.settings import EMBEDDED, Settings
from mandi.stores import clickhouse_answers, postgres_answers
from market.kafka_log import is_kafka
from market.records import LogUnavailable, Patience
from pipelines.engine import recovery
from sinks.embedded.clickhouse import EmbeddedClickHouse
from sinks.embedded.frozen import is_stopped
from sinks.embedded.postgres import EmbeddedPostgres
from sinks.embedded.shared import Server, is_used
from sinks.errors import SinkError, StoreUnavailable
from sinks.migrations import unapplied_clickhouse, unapplied_timescale

_LEAST_FREE_BYTES: Final = 2 * 2**30
_MOST_LAG_RECORDS: Final = 10_000
_MANY_RESTARTS: Final = 3
_PATIENCE_S: Final = 3.0  # for the answer of a process that is busy


@dataclass(frozen=True, slots=True)
class Finding:
    """`ok` None: nothing to judge, only to know."""

    ok: bool | None
    what: str
    do: str = ""


def doctor(settings: Settings) -> int:
    """Print the findings; return 1 if one of them needs doing something about."""
    bad = 0
    for finding in examine(settings):
        mark = {True: "ok  ", False: "BAD ", None: "    "}[finding.ok]
        print(f"{mark} {finding.what}")
        if finding.ok is False:
            bad += 1
            print(f"     -> {finding.do}")
    print(f"{bad} problem{'' if bad == 1 else 's'} found" if bad else "all is well")
    return 1 if bad else 0


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield all findings."""
    checks: list[Callable[[Settings], Iterator[Finding]]] = [
        _python,
        _disk,
        _dashboard,
        _clock,
        _log,
        _recovery,
        _stores,
        _processes,
    ]
    for check in checks:
        yield from check(settings)


def _python(settings: Settings) -> Iterator[Finding]:  # noqa: ARG001
    version = sys.version_info[:2]
    yield Finding(
        (3, 11) <= version <= (3, 12),
        f"Python {version[0]}.{version[1]}",
        "use Python 3.11 or 3.12: bytewax has no wheels for others",
    )


def _disk(settings: Settings) -> Iterator[Finding]:
    """Each disk that something of ours is on: the log and the stores may be mounted apart."""
    for place in disks(settings).values():
        free = free_bytes(place)
        yield Finding(
            free >= _LEAST_FREE_BYTES,
            f"{free / 2**30:.1f} GiB free at {place}",
            "make room there: a full disk stops every writer, which goes on by itself when there is space again",
        )


def _dashboard(settings: Settings) -> Iterator[Finding]:  # noqa: ARG001
    built = (bundle_dir() / "index.html").is_file()
    yield Finding(built, "dashboard bundle", "run `make setup`: the dashboard has not been built")


def _clock(settings: Settings) -> Iterator[Finding]:
    try:
        clock = FileClock(settings.clock_file).clock
    except MandiError as damaged:
        yield Finding(False, "market clock", str(damaged))
        return
    newest = clock.anchors[-1]
    ahead_h = (newest.market_ns - newest.wall_ns) / 3.6e12 if newest.wall_ns else 0.0
    yield Finding(None, f"market clock {ahead_h:+.1f} h from the wall, at speed {newest.speed:g}")


def _log(settings: Settings) -> Iterator[Finding]:
    if is_kafka(settings.log):
        yield _kafka(settings)
        return
    if not Path(settings.log.removeprefix("file://")).is_dir():
        yield Finding(None, "the log is empty: nothing has been ingested yet")
        return
    partitions = describe(settings.log)
    size = sum(partition.size_bytes for partition in partitions)
    for partition in partitions:
        if partition.problem:
            what = f"log: {partition.topic}/{partition.partition}: {partition.problem}"
            yield Finding(False, what, "docs/runbook.md, 'a damaged log', says how to go on")
    yield Finding(True, f"log: {len(partitions)} partitions, {size / 2**20:,.1f} MiB")


def _kafka(settings: Settings) -> Finding:
    reader = open_reader(settings.log, patience=Patience(stopped=lambda: True))
    try:
        partitions = reader.partitions("*")
    except LogUnavailable as error:
        return Finding(False, str(error), "docs/runbook.md, 'the broker is down', says how to go on")
    finally:
        reader.close()
    return Finding(True, f"log: {len(partitions)} partitions on Kafka")


def _recovery(settings: Settings) -> Iterator[Finding]:
    positions: dict[str, dict[tuple[str, str], int]] = {}
    for flow, store in recovery.kept_stores(settings.recovery_dir).items():
        damage = recovery.damage(store)
        if damage is not None:
            do = f"stop the flow, then `mandi rebuild {flow}`: it is made anew from the log"
            yield Finding(False, f"recovery of {flow} is damaged: {damage}", do)
        else:
            yield Finding(True, f"recovery of {flow}: resumes at epoch {recovery.resume_epoch(store)}")
            positions[flow] = recovery.log_positions(store)
    if positions:
        yield from _passed(settings, positions)


def _passed(settings: Settings, positions: Mapping[str, Mapping[tuple[str, str], int]]) -> Iterator[Finding]:
    """Flows that retention has passed: they would stop at their start, rather than skip rows."""
    reader = open_reader(settings.log, patience=Patience(stopped=lambda: True))
    try:
        begins = {str(tp): reader.begin_offset(tp) for tp in reader.partitions("*")}
    except LogUnavailable:
        return  # which was told
    finally:
        reader.close()
    for flow, its in positions.items():
        for (_, at), offset in sorted(its.items()):
            if offset < begins.get(at, 0):
                where = f"offset {offset} of {at}, which the log no longer has: it begins at {begins[at]}"
                do = f"stop it, then `mandi rebuild {flow}`: docs/runbook.md, 'an offset the log no longer has'"
                yield Finding(False, f"{flow} goes on at {where}", do)


def _stores(settings: Settings) -> Iterator[Finding]:
    if settings.timescale == EMBEDDED:
        server = EmbeddedPostgres(settings.data_dir)
        yield _embedded("PostgreSQL (embedded)", server, lambda: postgres_answers(server), "postgres.log")
    else:
        yield _answering("TimescaleDB", "MANDI_TIMESCALE", lambda: unapplied_timescale(settings.timescale))
    if settings.clickhouse == EMBEDDED:
        engine = EmbeddedClickHouse(settings.data_dir)
        yield _embedded("ClickHouse (chDB)", engine, lambda: clickhouse_answers(engine), "clickhouse.log")
    else:
        yield _answering("ClickHouse", "MANDI_CLICKHOUSE", lambda: unapplied_clickhouse(settings.clickhouse))


def _embedded(name: str, server: Server, answers: Callable[[], bool], log: str) -> Finding:
    pid, see, damage = server.pid, f"see {server.data_dir / log}", server.damage
    if damage is not None:
        return Finding(False, f"{name}: {damage.reason}", damage.advice)
    if pid is not None and is_stopped(pid):
        return Finding(False, f"{name} runs as process {pid}, and is stopped", _thaw(pid))
    if pid is not None:
        return Finding(answers(), f"{name} runs as process {pid}", f"it does not answer: {see}")
    if is_used(server.data_dir, server.name):
        do = f"whoever uses it starts it again, every few seconds. If it does not stay up: {see}"
        return Finding(False, f"{name} does not run, though a process uses it", do)
    return Finding(None, f"{name} is not running: it starts with what needs it")


def _answering(name: str, setting: str, unapplied: Callable[[], list[str]]) -> Finding:
    """Whether a server lets us in, answers, and has our tables: that a port is open says little."""
    try:
        missing = unapplied()
    except StoreUnavailable as error:
        do = f"start it, or correct {setting}; its flow waits, and the log holds the rows meanwhile"
        return Finding(False, f"{name} is away: {error.reason}", do)
    except SinkError as error:
        return Finding(False, f"{name}: {error}", f"correct {setting}, or the rights of its user")
    if missing:
        return Finding(False, f"{name} answers and lacks {', '.join(missing)}", "run `mandi migrate`")
    return Finding(True, f"{name} answers, its schema is up to date")


def _processes(settings: Settings) -> Iterator[Finding]:
    known = processes(settings.data_dir)
    live = [process for process in known if process.is_alive]
    yield from _ended(known, {process.name for process in live}, {process.pid for process in live})
    if not live:
        yield Finding(None, "no pipeline is running on this data directory")
        return
    yield Finding(True, f"a pipeline is running: {', '.join(_named(process) for process in live)}")
    stopped = [process for process in live if process.is_here and is_stopped(process.pid)]
    for process in stopped:
        yield Finding(False, f"{_named(process)} is stopped", _thaw(process.pid))
    asked = [process for process in live if process.is_here and process not in stopped]
    found = {_named(process): scrape(process.metrics, _PATIENCE_S) for process in asked}
    waiting = [name for name, its in found.items() if its.total("mandi_log_away")]
    if waiting:
        what = f"{len(waiting)} of {len(live)} processes wait for the log's broker"
        yield Finding(False, what, "start it: docs/runbook.md, 'the broker is down'. All go on by themselves")
    for name, its in found.items():
        yield from _process(settings, name, its)
    gaps = Counter[str]()
    for its in found.values():
        gaps.update(its.by_label("mandi_gaps_total", "venue"))
    for venue, count in sorted(gaps.items()):
        yield Finding(None, f'{count:,.0f} gaps seen from {venue}: `mandi sql "SELECT * FROM market.gaps"`')


def _thaw(pid: int) -> str:
    return (
        f"somebody stopped it (SIGSTOP, Ctrl-Z, a debugger). `kill -CONT {pid}` and it goes on; `kill -9 {pid}` and "
        "its supervisor, or you, start it again"
    )


def _named(process: Process) -> str:
    return f"{process.name} ({process.pid})" if process.is_here else f"{process.name} ({process.pid} on {process.host})"


def _ended(known: Sequence[Process], names: set[str], pids: set[int]) -> Iterator[Finding]:
    """Those that were killed or failed, and that nobody has started again, nor will."""
    for process in known:
        if not process.is_alive and process.name not in names and process.supervisor not in pids:
            do = f"read what it said, and start it again: `{process.command}`. If it is not wanted: rm {process.file}"
            yield Finding(False, f"{_named(process)} ended without being told to", do)


def _process(settings: Settings, name: str, found: Metrics) -> Iterator[Finding]:
    """What a process says of itself."""
    if not found.samples:
        yield Finding(False, f"{name} does not answer", "it hangs, or was stopped: end it, and start it again")
    for sink, away in found.by_label("mandi_sink_away", "sink").items():
        if away:
            do = "docs/runbook.md, 'a store is down': its flow goes on by itself, and the log holds the rows meanwhile"
            yield Finding(False, f"the flow of {sink} waits for its store", do)
    for process, times in found.by_label("mandi_process_restarts_total", "process").items():
        if times:
            ok = False if times > _MANY_RESTARTS else None
            do = f"read {_log_of(settings, process)}: docs/runbook.md, 'a process does not stay up'"
            often = "once" if times == 1 else f"{times:.0f} times"
            yield Finding(ok, f"{process} was started again {often} by {name}", do)
    for flow, times in found.by_label("mandi_flow_rebuilds_total", "flow").items():
        if times:
            why = f"its state did not fit, or was damaged: {_log_of(settings, flow)}"
            yield Finding(None, f"{flow} began again at the beginning of the log, {why}")
    for (topic, consumer), lag in sorted(found.by_labels("mandi_log_lag_rows", "topic", "consumer").items()):
        if lag > _MOST_LAG_RECORDS:
            yield Finding(False, f"{consumer} is {lag:,.0f} records behind {topic}", "see its log for retries")


def _log_of(settings: Settings, process: str) -> Path:
    alone = {EmbeddedPostgres.name: "postgres.log", EmbeddedClickHouse.name: "clickhouse.log"}
    log = settings.data_dir / "logs" / f"{process}.log"
    return log if log.exists() or process not in alone else settings.data_dir / alone[process]
