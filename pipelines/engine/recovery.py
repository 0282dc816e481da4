"""Run a Bytewax dataflow so that a crash changes nothing: lock, scrub, start.

Bytewax 0.21 commits the snapshots of an epoch before the frontier that makes them count. A crash in between leaves
snapshots of an epoch that the next run numbers anew; if that run crashes too, its successor loads such a phantom
together with an older source position, and counts rows twice. Nothing upstream deletes them, so we do, before
each start and with no process running: every snapshot at or past the resume epoch. Tombstones go too.

Recovery is a cache. A state that does not fit the log (`StateMismatch`; `LogReplaced` if a topic was made anew), or a
store that is damaged, is thrown away and the flow starts again at the beginning of the log.
"""

import errno
import logging
import os
import pickle
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from bytewax._bytewax import cluster_main
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.recovery import RecoveryConfig, init_db_dir

from market.records import LogReplaced
from pipelines import metrics
from pipelines.engine.blame import take_cause
from pipelines.engine.cluster import Seat, divided, lane_names, lane_of, seat_of_this_process
from sinks.locks import try_lock

_log: Final = logging.getLogger(__name__)

PARTITIONS: Final = 1
"""SQLite files of a recovery store. A flow has tens of keys; more files cost more fsyncs an epoch."""

EPOCH: Final = timedelta(seconds=0.5)

_SQLITE_FAILED: Final = re.compile(r"panicked at src/recovery\.rs.*SqliteFailure\(.*Some\(\"(.*)\"\)", re.DOTALL)

_CUT_OFF: Final = "Any { .. }"
"""So ends what Bytewax panics with in the threads between the processes of a cluster, whatever has happened."""

_OF_THE_DISK: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
"""What is no damage of the store: dropping it would not help."""

REFUSED: Final = "refused"
"""The file in which a process of a cluster leaves why its state does not fit the log."""


class FlowLocked(RuntimeError):
    """Another process runs this flow on this data directory. Carries `name`, `pid`."""

    def __init__(self, name: str, pid: str) -> None:
        super().__init__(f"the flow {name} is already running here, as process {pid or 'unknown'}")
        self.name, self.pid = name, pid


class StateMismatch(RuntimeError):
    """A restored state does not fit the log, its source, or this version of the code."""

    def __init__(self, step_id: str, source: str, expected: int | None, got: int) -> None:
        super().__init__(f"the state of {step_id} expects {source} at offset {expected}, but it is at {got}")
        self.step_id, self.source, self.expected, self.got = step_id, source, expected, got


class PeerLost(RuntimeError):
    """A process of a cluster ends, for the reason given or with another one: the launcher starts all of them again."""

    def __init__(self, reason: str = "another process of the group has ended") -> None:
        super().__init__(f"this process of the group ends: {reason}")


class RecoveryStoreFailed(RuntimeError):
    """A recovery store cannot be written. The flow ends; the epoch that was not kept comes again from the log."""

    def __init__(self, store: Path, reason: str) -> None:
        super().__init__(
            f"the recovery store {store} cannot be written ({reason}); the flow stops here, nothing is lost: "
            "make room, then start it again"
        )
        self.store, self.reason = store, reason


class StoreDamaged(RuntimeError):
    """A recovery store cannot be copied. Carries `store`, `reason`."""

    def __init__(self, store: Path, reason: str) -> None:
        super().__init__(f"the recovery store {store} is damaged: {reason}")
        self.store, self.reason = store, reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrubbed:
    """What a scrub removed, and the epoch the flow will resume at (None: a new store)."""

    resume_epoch: int | None
    phantoms: int
    tombstones: int


def run_flow(
    name: str,
    build: Callable[[], Dataflow],
    directory: Path,
    *,
    workers: int = 1,
    epoch: timedelta = EPOCH,
    scrubbing: bool = True,
) -> None:
    """Run a flow to its end on the recovery store `directory`, resuming where it stopped.

    `scrubbing=False` is stock Bytewax, for the tests that show why it is not enough.
    In a process that a launcher started as part of a cluster, the lock and the store are the launcher's business, and
    a state that does not fit is left to it, in REFUSED.
    Delivery: state and source positions move together, once an epoch; sinks may see the last epoch again.
    Raises: FlowLocked if the flow runs elsewhere; whatever a source, kernel or sink raises.
    """
    seat = seat_of_this_process()
    if seat is not None:
        _take_seat(seat, build, directory, epoch)
        return
    directory.mkdir(parents=True, exist_ok=True)
    rebuilds = metrics.FLOW_REBUILDS.labels(name)
    with locked(name, directory):
        for attempt in (1, 2):
            try:
                _run_once(build, directory / "store", workers, epoch, scrubbing=scrubbing)
            except (StateMismatch, LogReplaced, sqlite3.DatabaseError) as error:
                if attempt == 2 or not scrubbing:
                    raise
                _log.warning("%s: %s; its recovery store is dropped and rebuilt from the log", name, error)
                rebuilds.inc()
                shutil.rmtree(directory / "store", ignore_errors=True)
            else:
                return


def _run_once(build: Callable[[], Dataflow], store: Path, workers: int, epoch: timedelta, *, scrubbing: bool) -> None:
    prepare(store, workers, scrubbing=scrubbing)
    with divided(workers):
        flow = build()
    execute(flow, workers=workers, epoch=epoch, store=store)


def _take_seat(seat: Seat, build: Callable[[], Dataflow], directory: Path, epoch: timedelta) -> None:
    with divided(seat.lanes):
        flow = build()
    try:
        execute(flow, workers=seat.workers, epoch=epoch, store=directory / "store", seat=seat)
    except (StateMismatch, LogReplaced, sqlite3.DatabaseError) as error:
        (directory / REFUSED).write_text(str(error))
        raise PeerLost(str(error)) from error


def prepare(store: Path, lanes: int = 1, *, scrubbing: bool = True) -> None:
    """Make a store fit to start on: new, or scrubbed, with the log divided into so many lanes.

    No process may be using it. Raises: sqlite3.DatabaseError if it is damaged; RecoveryStoreFailed if the disk is full.
    """
    try:
        _prepare(store, lanes, scrubbing=scrubbing)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in _OF_THE_DISK:
            raise RecoveryStoreFailed(store, str(error)) from error
        raise


def _prepare(store: Path, lanes: int, *, scrubbing: bool) -> None:
    if not _is_complete(store):
        shutil.rmtree(store, ignore_errors=True)
        store.mkdir(mode=0o700)  # it holds pickles: whoever may write here may run code
        init_db_dir(store, PARTITIONS)  # type: ignore[no-untyped-call]
    elif scrubbing:
        done = scrub(store)
        if done.phantoms:
            _log.warning("removed %d phantom snapshots at or past epoch %s", done.phantoms, done.resume_epoch)
        divide(store, lanes)


def execute(
    flow: Dataflow,
    *,
    workers: int = 1,
    epoch: timedelta = EPOCH,
    store: Path | None = None,
    seat: Seat | None = None,
) -> None:
    """Run a flow to its end in this process, without a recovery store if `store` is None.

    `seat`: as one process of a cluster. Its peers trust each other with pickles: addresses are of loopback or a private
    network.
    Raises: what a source, kernel or sink raised, freed from Bytewax's wrappers.
    """
    take_cause()  # of a flow before this one
    recovery = None if store is None else RecoveryConfig(str(store))  # type: ignore[no-untyped-call]
    addresses, process = ([], 0) if seat is None else ([*seat.addresses], seat.process)
    try:
        cluster_main(  # type: ignore[no-untyped-call]
            flow, addresses, process, epoch_interval=epoch, recovery_config=recovery, worker_count_per_proc=workers
        )
    except BytewaxRuntimeError as error:
        cause: BaseException = error
        while isinstance(cause, BytewaxRuntimeError) and cause.__cause__ is not None:
            cause = cause.__cause__
        raise cause from (cause.__cause__ or error)  # what caused it says more than where it came through
    except RuntimeError as error:
        # Bytewax gives up with `unwrap` when SQLite refuses a write: its panic is all that is told.
        if store is not None and (failed := _SQLITE_FAILED.search(str(error))):
            raise RecoveryStoreFailed(store, failed[1]) from error
        raise
    except BaseException as error:
        if seat is None or not str(error).endswith(_CUT_OFF):
            raise
        raise (take_cause() or PeerLost()) from None


def _is_complete(store: Path) -> bool:
    """False after a crash within init_db_dir: a store of which a partition is missing cannot be opened."""
    return len(list(store.glob("part-*.sqlite3"))) == PARTITIONS if store.is_dir() else False


def scrub(store: Path) -> Scrubbed:
    """Delete the snapshots that the next run must not see. No process may be using the store.

    Raises: sqlite3.DatabaseError if a partition cannot be read.
    """
    resume = resume_epoch(store)
    if resume is None:
        return Scrubbed(resume_epoch=None, phantoms=0, tombstones=0)
    phantoms = tombstones = 0
    for part in _partitions(store):
        with closing(sqlite3.connect(part)) as db, db:
            phantoms += db.execute("DELETE FROM snaps WHERE snap_epoch >= ?", (resume,)).rowcount
            # A discarded key is a NULL that hides older snapshots of it; alone it hides nothing.
            tombstones += db.execute(
                "DELETE FROM snaps WHERE ser_change IS NULL AND NOT EXISTS (SELECT 1 FROM snaps AS older"
                " WHERE older.step_id = snaps.step_id AND older.state_key = snaps.state_key"
                " AND older.snap_epoch < snaps.snap_epoch)"
            ).rowcount
    return Scrubbed(resume_epoch=resume, phantoms=phantoms, tombstones=tombstones)


def divide(store: Path, lanes: int) -> None:
    """Hand what the sources of the log had read over to another number of lanes. No process may be using the store."""
    wanted = lane_names(lanes)
    for part in _partitions(store):
        with closing(sqlite3.connect(part)) as db, db:
            newest = "SELECT step_id, state_key, ser_change, max(snap_epoch) FROM snaps GROUP BY step_id, state_key"
            found: dict[str, dict[str, tuple[dict[str, object], int]]] = {}
            for step, key, change, epoch in db.execute(newest):
                if key == "log" or key.startswith("log/"):
                    # The file is ours, and nobody else may write it.
                    state = None if change is None else pickle.loads(change)
                    if isinstance(state, dict):  # a sink has a part of that name, too, and no state
                        found.setdefault(step, {})[key] = state, epoch
            for step, lane_states in found.items():
                if set(lane_states) != set(wanted):
                    _divide_step(db, step, lane_states, wanted)


def _divide_step(
    db: sqlite3.Connection, step: str, states: Mapping[str, tuple[dict[str, object], int]], wanted: Sequence[str]
) -> None:
    positions = {name: at for state, _ in states.values() for name, at in state.items()}
    epoch = max(epoch for _, epoch in states.values())
    db.executemany("DELETE FROM snaps WHERE step_id = ? AND state_key = ?", [(step, key) for key in states])
    for lane in wanted:
        mine = {name: at for name, at in positions.items() if lane_of(name.rpartition("/")[0], len(wanted)) == lane}
        db.execute(
            "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES (?, ?, ?, ?)",
            (step, lane, epoch, pickle.dumps(mine)),
        )


def resume_epoch(store: Path) -> int | None:
    """The epoch Bytewax will resume at: the lowest frontier of the newest execution's workers.

    Source: bytewax 0.21.1 src/recovery.rs; a worker without a frontier row resumes where its execution did.
    """
    executions: list[tuple[int, int, int]] = []
    fronts: dict[tuple[int, int], int] = {}
    for part in _partitions(store):
        with closing(sqlite3.connect(part)) as db:
            executions += db.execute("SELECT ex_num, worker_count, resume_epoch FROM exs").fetchall()
            for ex_num, worker, frontier in db.execute("SELECT ex_num, worker_index, worker_frontier FROM fronts"):
                fronts[ex_num, worker] = max(fronts.get((ex_num, worker), 0), frontier)
    if not executions:
        return None
    ex_num, workers, resumed_at = max(executions)
    return min(fronts.get((ex_num, worker), resumed_at) for worker in range(workers))


def log_positions(store: Path) -> dict[tuple[str, str], int]:
    """Where a flow goes on in the log, as it was kept last: the next offset by step and topic-partition, as text.

    Raises: sqlite3.DatabaseError if a partition cannot be read.
    """
    newest = "SELECT step_id, ser_change, max(snap_epoch) FROM snaps GROUP BY step_id, state_key"
    found: dict[tuple[str, str], int] = {}
    for part in _partitions(store):
        with closing(sqlite3.connect(f"{part.as_uri()}?mode=ro", uri=True)) as db:
            rows = db.execute(f"{newest} HAVING state_key = 'log' OR state_key LIKE 'log/%'").fetchall()
        for step, change, _ in rows:
            # The file is ours, and nobody else may write it.
            state = None if change is None else pickle.loads(change)
            if isinstance(state, dict):  # a sink has a part of that name, too, and no state
                found |= {(step, at): offset for at, (offset, _) in state.items()}
    return found


def damage(store: Path) -> str | None:
    """Say what is wrong with the files of a recovery store, or None; reads every page of them.

    A damaged page may hold a key that is only met hours after the start.
    """
    parts = _partitions(store)
    if len(parts) != PARTITIONS:
        return f"{len(parts)} of {PARTITIONS} partitions are there"
    for part in parts:
        try:
            with closing(sqlite3.connect(f"{part.as_uri()}?mode=ro", uri=True)) as db:
                found = _damage_of(db)
        except sqlite3.DatabaseError as error:
            found = str(error)
        if found:
            return f"{part.name}: {' '.join(found.split())}"
    return None


def kept_stores(directory: Path) -> dict[str, Path]:
    """The recovery stores that flows have left below a directory, by flow."""
    return {store.parent.name: store for store in sorted(directory.glob("*/store"))}


def copy_store(store: Path, to: Path) -> None:
    """Copy a recovery store, of a flow that may be running, as it is at one instant, and look through the copy.

    One instant holds for one file: a store of several partitions would have to be stopped.
    Raises: StoreDamaged; OSError if the disk is full. Whatever ends it early, there is nothing at `to` then.
    """
    parts = _partitions(store)
    found = "" if len(parts) == PARTITIONS else f"{len(parts)} of {PARTITIONS} partitions are there"
    to.mkdir(mode=0o700, parents=True)
    try:
        found = _copy_parts(parts, to) or found
    except BaseException:
        shutil.rmtree(to)
        raise
    if found:
        shutil.rmtree(to)
        raise StoreDamaged(store, " ".join(found.split()))


def _copy_parts(parts: Sequence[Path], to: Path) -> str:
    """Copy partitions; return what is wrong with one of them, or nothing. Raises: OSError if the disk is full."""
    try:
        for part in parts:
            with closing(sqlite3.connect(part)) as source, closing(sqlite3.connect(to / part.name)) as target:
                source.backup(target)
                if found := _damage_of(target):
                    return found
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(to)) from error
        return str(error)
    return ""


def _damage_of(db: sqlite3.Connection) -> str:
    """What is wrong with a partition, or nothing. Raises: sqlite3.DatabaseError, too, if something is."""
    found: str = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    db.execute("SELECT 1 FROM exs, fronts LIMIT 1")  # an empty file is a sound database
    return "" if found == "ok" else found


def _partitions(store: Path) -> list[Path]:
    return sorted(store.glob("part-*.sqlite3"))


@contextmanager
def locked(name: str, directory: Path) -> Iterator[int]:
    """Hold the flow's lock: two runs on one store would corrupt it, and Bytewax does not look.

    Yields the lock's file descriptor: a process that inherits it holds the lock, too, as long as it lives.
    Raises: FlowLocked if the flow runs.
    """
    with (directory / "lock").open("a+") as lock:
        if not try_lock(lock):
            lock.seek(0)
            raise FlowLocked(name, lock.read().strip())
        with suppress(OSError):  # the disk may be full; the id is for who reads it, the lock holds without
            os.ftruncate(lock.fileno(), 0)
            os.write(lock.fileno(), str(os.getpid()).encode())
        yield lock.fileno()
