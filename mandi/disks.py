"""The disks that something of ours is on: how much room each has, for the metrics and the doctor."""

import shutil
from pathlib import Path
from typing import Final

from mandi.settings import Settings
from market.kafka_log import is_kafka
from pipelines import metrics

_BELOW: Final = ("recovery", "postgres", "clickhouse")  # may be mounted apart


def disks(settings: Settings) -> dict[str, Path]:
    """Return a place on each disk, by name: `data`; `log`, `recovery`, `postgres`, `clickhouse` if mounted apart."""
    places = {"data": settings.data_dir}
    if not is_kafka(settings.log):
        places["log"] = Path(settings.log.removeprefix("file://"))
    places |= {name: settings.data_dir / name for name in _BELOW}
    found, seen = dict[str, Path](), set[int]()
    for name, place in places.items():
        device = there(place).stat().st_dev
        if device not in seen:
            seen.add(device)
            found[name] = place
    return found


def there(place: Path) -> Path:
    """The place, or what there is of the way to it: a directory that is made later is on the disk of that."""
    return next((path for path in (place, *place.parents) if path.exists()), Path("/"))


def free_bytes(place: Path) -> int:
    """How much can be written to the disk of a place."""
    return shutil.disk_usage(there(place)).free


def export_disks(settings: Settings) -> None:
    """Have the metrics of this process tell of the disks, looked at whenever they are asked for."""
    for name, place in disks(settings).items():
        metrics.DISK_FREE.labels(name).set_function(lambda place=place: free_bytes(place))  # type: ignore[misc]
        metrics.DISK_SIZE.labels(name).set_function(lambda place=place: _usable_bytes(place))  # type: ignore[misc]


def _usable_bytes(place: Path) -> int:
    # Without what only root may write: a disk is full to us when nothing of this is free.
    usage = shutil.disk_usage(there(place))
    return usage.used + usage.free
