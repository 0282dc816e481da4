"""`mandi backup`, `restore` and `rebuild`: what is kept outside, and what is made anew from the log.

A backup is consistent while the pipeline runs, because of its order: first the flows' positions, then the rows. So no
position is newer than the rows; what lies between is read from the log again and changes nothing.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from mandi import __version__
from mandi.errors import MandiError, UsageError
from mandi.flows import FLOWS, MIRROR
from mandi.settings import Settings
from mandi.stores import open_stores
from pipelines.engine.recovery import FlowLocked, copy_store, locked
from sinks import archive
from sinks.migrations import read_migrations

MANIFEST: Final = "manifest.json"
_STORES: Final = ("timescale", "clickhouse")


def backup(settings: Settings, to: Path) -> int:
    """Write a backup into the new directory `to`, which has its name only once it is whole and on disk.

    Raises: UsageError if `to` is there already; MandiError, SinkError, OSError.
    """
    if to.exists():
        raise UsageError(f"{to} is there already: a backup is a new directory")
    partial = to.with_name(f"{to.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700, parents=True)  # it holds trades, and pickles that are loaded
    with open_stores(settings) as stores:
        flows = [flow for flow in _flows(settings) if (settings.recovery_dir / flow / "store").is_dir()]
        for flow in flows:
            copy_store(settings.recovery_dir / flow / "store", partial / "recovery" / flow)
        rows = {
            "timescale": archive.dump_timescale(stores.timescale, partial / "timescale"),
            "clickhouse": archive.dump_clickhouse(stores.clickhouse, partial / "clickhouse"),
        }
    manifest = {
        "mandi": __version__,
        "migrations": {store: [each.name for each in read_migrations(store)] for store in _STORES},
        "rows": rows,
        "flows": flows,
        "sha256": {str(file.relative_to(partial)): _checksum(file) for file in _files(partial)},
    }
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=1))
    _sync(partial)
    partial.replace(to)
    print(f"{sum(rows['timescale'].values())} rows of TimescaleDB, {sum(rows['clickhouse'].values())} of ClickHouse")
    print(f"and the positions of {', '.join(flows) or 'no flow'} are in {to}")
    return 0


def restore(settings: Settings, source: Path) -> int:
    """Put a backup into empty stores: rows first, positions last.

    Raises: MandiError for a backup that is not whole, newer than this installation, or a flow that runs; SinkError for
        stores that have rows.
    """
    manifest = _checked(source)
    with _stopped(settings, manifest["flows"]), open_stores(settings) as stores:
        rows = {
            "timescale": archive.load_timescale(stores.timescale, source / "timescale"),
            "clickhouse": archive.load_clickhouse(stores.clickhouse, source / "clickhouse"),
        }
        for flow in manifest["flows"]:
            place = settings.recovery_dir / flow / "store"
            shutil.rmtree(place, ignore_errors=True)
            copy_store(source / "recovery" / flow, place)
    print(f"{sum(rows['timescale'].values())} rows of TimescaleDB, {sum(rows['clickhouse'].values())} of ClickHouse")
    print(f"and the positions of {', '.join(manifest['flows']) or 'no flow'} are back")
    return 0


def rebuild(settings: Settings, flows: Sequence[str], *, stores: bool, delete_rows: bool) -> int:
    """Drop the recovery stores of `flows` (default: all), so that they start again at the beginning of the log.

    `stores` deletes the rows of both stores, too, and needs `delete_rows`.
    Raises: UsageError for an unknown flow or without the confirmation; MandiError if a flow runs.
    """
    unknown = sorted(set(flows) - {*FLOWS, MIRROR})
    if unknown:
        raise UsageError(f"there is no flow '{unknown[0]}'; choose among {', '.join((*FLOWS, MIRROR))}")
    wanted = [*flows] or [*_flows(settings)]
    if stores and not delete_rows:
        raise UsageError(
            "--stores deletes every row of both stores, also what `mandi replay` wrote and what the log no longer has: "
            "`mandi backup` first; then repeat it with --yes-delete-all-rows"
        )
    if stores:
        wanted = [*dict.fromkeys([*wanted, *_STORES])]
    with _stopped(settings, wanted):
        if stores:
            with open_stores(settings) as found:
                archive.empty_timescale(found.timescale)
                archive.empty_clickhouse(found.clickhouse)
        for flow in wanted:
            shutil.rmtree(settings.recovery_dir / flow / "store", ignore_errors=True)
    emptied = "; both stores are empty" if stores else ""
    print(f"{', '.join(wanted)}: at the next start, from the beginning of the log{emptied}")
    return 0


def _flows(settings: Settings) -> list[str]:
    """The flows, with those that only run when they are named and have run."""
    return [*FLOWS, *(flow for flow in (MIRROR,) if (settings.recovery_dir / flow).is_dir())]


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
    manifest: dict[str, Any] = json.loads(path.read_text())
    for name, expected in manifest["sha256"].items():
        if not (source / name).is_file() or _checksum(source / name) != expected:
            raise MandiError(f"{source / name} is not what was backed up: it is missing or damaged")
    for store in _STORES:
        missing = set(manifest["migrations"][store]) - {each.name for each in read_migrations(store)}
        if missing:
            raise MandiError(
                f"the backup was made by mandi {manifest['mandi']}, which is newer: {min(missing)} is unknown here"
            )
    return manifest


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
