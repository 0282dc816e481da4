"""`mandi backup`, `restore` and `rebuild`: what is kept outside, and what is made anew from the log.

A backup is consistent while the pipeline runs, because of its order: first the flows' positions, then the rows. So no
position is newer than the rows; what lies between is read from the log again and changes nothing.

Rows are what a backup is for; a position only saves reading the log again. So one that cannot be copied is left out,
and told. A restore leaves the backup's positions and no others: one from elsewhere may lie beyond the rows, or the log.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from mandi import __version__
from mandi.errors import Interrupted, MandiError, UsageError
from mandi.flow_names import FLOWS, NAMED, WEBHOOKS
from mandi.settings import Settings
from mandi.stores import STORES, open_stores
from pipelines.engine.recovery import FlowLocked, StoreDamaged, copy_store, kept_stores, locked
from sinks import archive
from sinks.migrations import read_migrations

MANIFEST: Final = "manifest.json"
_MANIFEST_KEYS: Final = {"mandi": str, "migrations": dict, "flows": list, "sha256": dict}


def backup(settings: Settings, to: Path) -> int:
    """Write a backup into the new directory `to`, which has its name only once it is on disk; one that fails is none.

    Raises: UsageError if `to` is there already; MandiError if it lacks positions, once all else is in it; SinkError,
        OSError.
    """
    if to.exists():
        raise UsageError(f"{to} is there already: a backup is a new directory")
    with open_stores(settings) as stores, _whole(to) as partial:
        here = kept_stores(settings.recovery_dir)
        lacking = _copy_positions({flow: (store, partial / "recovery" / flow) for flow, store in here.items()})
        flows = [flow for flow in here if flow not in lacking]
        rows = {
            "timescale": archive.dump_timescale(stores.timescale, partial / "timescale"),
            "clickhouse": archive.dump_clickhouse(stores.clickhouse, partial / "clickhouse"),
        }
        manifest = {
            "mandi": __version__,
            "migrations": {store: [each.name for each in read_migrations(store)] for store in STORES},
            "rows": rows,
            "flows": flows,
            "lacking": lacking,
            "sha256": {str(file.relative_to(partial)): _checksum(file) for file in _files(partial)},
        }
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1))
    print(f"{_counted(rows)}\nand the positions of {', '.join(flows) or 'no flow'} are in {to}")
    if lacking:
        raise MandiError(
            f"{to} is not whole: it lacks the position of {_reasons(lacking)}. A restore begins at the log's beginning "
            f"there; to mend it, stop the flow, `mandi rebuild {' '.join(lacking)}`, start it, and back up again"
        )
    return 0


@contextmanager
def _whole(to: Path) -> Iterator[Path]:
    """Yield a directory to fill, which is `to` once it is on disk, and nothing if that fails.

    Raises: MandiError where it cannot be written, whoever noticed: not each of them says which file it was.
    """
    partial = to.with_name(f"{to.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of one that was killed
    try:
        partial.mkdir(mode=0o700, parents=True)  # it holds trades, and pickles that are loaded
        yield partial
        _sync(partial)
        partial.replace(to)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError):
            do = "make room there, or name a directory elsewhere. Nothing of it is left"
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise MandiError(f"the backup {to} cannot be written: {reason}; {do}") from error
        raise


def restore(settings: Settings, source: Path) -> int:
    """Put a backup into empty stores: rows first, positions last, and no position that the backup does not have.

    One that fails leaves both stores empty; Interrupted says where it was.
    Raises: MandiError for a backup whose files are not as they were, newer than this installation, or a flow that
        runs; SinkError for a store that has rows. Then neither store is touched, nor a position.
    """
    manifest = _checked(source)
    flows: list[str] = manifest["flows"]
    here = kept_stores(settings.recovery_dir)
    with _stopped(settings, [*dict.fromkeys([*flows, *here])]), open_stores(settings) as stores:
        archive.refuse_rows(stores.timescale, stores.clickhouse)
        with _if_interrupted("both stores are empty, as before, and the flows have no positions: restore again"):
            for store in here.values():  # they are of other rows; without one a flow reads the log anew
                shutil.rmtree(store)
            with archive.loaded_clickhouse(stores.clickhouse, source / "clickhouse") as clickhouse_rows:
                timescale_rows = archive.load_timescale(stores.timescale, source / "timescale")
        again = "a flow whose position is not reads the log from its beginning, which changes no row"
        with _if_interrupted(f"the rows are back; {again}"):
            lacking = manifest.get("lacking", {}) | _copy_positions(
                {flow: (source / "recovery" / flow, _store(settings, flow)) for flow in flows}
            )
    lacking |= {flow: "the backup does not know it" for flow in here if flow not in [*flows, *lacking]}
    back = [flow for flow in flows if flow not in lacking]
    rows = {"timescale": timescale_rows, "clickhouse": clickhouse_rows}
    print(f"{_counted(rows)}\nand the positions of {', '.join(back) or 'no flow'} are back")
    if lacking:
        print(f"at its next start, from the beginning of the log: {_reasons(lacking)}")
    return 0


def rebuild(settings: Settings, flows: Sequence[str], *, stores: bool, delete_rows: bool) -> int:
    """Drop the recovery stores of `flows`, so that they start again at the beginning of the log.

    By default of all but webhooks, whose receivers would get once more what they have had.
    `stores` deletes the rows of both stores, too, and needs `delete_rows`.
    Raises: UsageError for an unknown flow or without the confirmation; MandiError if a flow runs.
    """
    usual = dict.fromkeys([*FLOWS, *kept_stores(settings.recovery_dir)])
    known = dict.fromkeys([*usual, *NAMED])
    unknown = sorted(set(flows) - known.keys())
    if unknown:
        raise UsageError(f"there is no flow '{unknown[0]}'; choose among {', '.join(known)}")
    wanted = [*flows] or [flow for flow in usual if flow != WEBHOOKS]
    if stores and not delete_rows:
        raise UsageError(
            "--stores deletes every row of both stores, also what `mandi replay` wrote and what the log no longer has: "
            "`mandi backup` first; then repeat it with --yes-delete-all-rows"
        )
    if stores:
        wanted = [*dict.fromkeys([*wanted, *STORES])]
    with _stopped(settings, wanted), open_stores(settings, only=STORES if stores else ()) as found:
        for flow in wanted:  # first: one that outlived its rows would go on beyond them
            shutil.rmtree(_store(settings, flow), ignore_errors=True)
        if stores:
            archive.empty_timescale(found.timescale)
            archive.empty_clickhouse(found.clickhouse)
    emptied = "; both stores are empty" if stores else ""
    print(f"{', '.join(wanted)}: at the next start, from the beginning of the log{emptied}")
    return 0


@contextmanager
def _if_interrupted(state: str) -> Iterator[None]:
    """Have Ctrl-C say how things are, and what to do. Raises: Interrupted."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted; {state}") from error


def _store(settings: Settings, flow: str) -> Path:
    return settings.recovery_dir / flow / "store"


def _copy_positions(places: Mapping[str, tuple[Path, Path]]) -> dict[str, str]:
    """Copy recovery stores, each from and to; return the flows of which it cannot be done, and why."""
    lacking = {}
    for flow, (store, to) in places.items():
        try:
            copy_store(store, to)
        except StoreDamaged as error:
            lacking[flow] = error.reason
    return lacking


def _counted(rows: Mapping[str, Mapping[str, int]]) -> str:
    return f"{sum(rows['timescale'].values())} rows of TimescaleDB, {sum(rows['clickhouse'].values())} of ClickHouse"


def _reasons(lacking: Mapping[str, str]) -> str:
    return ", ".join(f"{flow} ({reason})" for flow, reason in lacking.items())


@contextmanager
def _stopped(settings: Settings, flows: Sequence[str]) -> Iterator[None]:
    """Keep the flows from starting. Raises: MandiError if one runs."""
    with ExitStack() as held:
        for flow in flows:
            directory = settings.recovery_dir / flow
            directory.mkdir(parents=True, exist_ok=True)
            try:
                held.enter_context(locked(flow, directory))
            except FlowLocked as error:
                raise MandiError(f"{error}: stop it first") from error
        yield


def _checked(source: Path) -> dict[str, Any]:
    """The manifest of a backup that is whole and not newer than our migrations. Raises: MandiError."""
    path = source / MANIFEST
    if not path.is_file():
        raise MandiError(f"{source} is no whole backup: it has no {MANIFEST}")
    try:
        manifest = _manifest(json.loads(path.read_text()))
    except ValueError as error:
        raise MandiError(f"{path} is not what was backed up: {error}") from error
    for name, expected in manifest["sha256"].items():
        if not (source / name).is_file() or _checksum(source / name) != expected:
            raise MandiError(f"{source / name} is not what was backed up: it is missing or damaged")
    for store in STORES:
        missing = set(manifest["migrations"][store]) - {each.name for each in read_migrations(store)}
        if missing:
            raise MandiError(
                f"the backup was made by mandi {manifest['mandi']}, which is newer: {min(missing)} is unknown here"
            )
    return manifest


def _manifest(found: object) -> dict[str, Any]:
    """What was read of a manifest, if it has the shape of one. Raises: ValueError."""
    if not isinstance(found, dict):
        raise ValueError(f"it holds no object but {found!r:.40}")
    for key, kind in _MANIFEST_KEYS.items():
        if not isinstance(found.get(key), kind):
            raise ValueError(f"it has no '{key}'")
    for store in STORES:
        if not isinstance(found["migrations"].get(store), list):
            raise ValueError(f"it has no 'migrations' of {store}")
    return found


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(directory: Path) -> None:
    for path in [*_files(directory), *(each for each in directory.rglob("*") if each.is_dir()), directory]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
