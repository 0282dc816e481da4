"""Real Prometheus and Alertmanager, unpacked from Debian's packages (nothing is installed, no root needed)."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sinks.embedded.processes import free_port
from tests.services.base import LOOPBACK, Missing, Server, answers, fetch, launch, package, tool

_PROMETHEUS: Final = "prometheus"
_ALERTMANAGER: Final = "prometheus-alertmanager"
_DURATION: Final = r"(?P<number>\d+)(?P<unit>[smh])"
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600}
_LEAST_S: Final = 1.0
_LEAST_RANGE_S: Final = 4.0


def programs() -> Path:
    """Return the directory with prometheus, promtool, amtool and prometheus-alertmanager. Raises: Missing."""
    apt = tool("apt-get", "Prometheus for tests comes from Debian's packages")
    with package("monitoring") as (target, part):
        if part is not None:
            download = [apt, "download", _PROMETHEUS, _ALERTMANAGER]
            try:
                fetch("Prometheus", download, part)
            except Missing:  # fresh machines have no package lists yet
                fetch("the package lists", [apt, "update", "-qq"], part)
                fetch("Prometheus", download, part)
            for archive in part.glob("*.deb"):
                fetch(f"unpacking {archive.name}", ["dpkg-deb", "-x", str(archive), str(part)], part)
                archive.unlink()
    return target / "usr" / "bin"


def start_prometheus(directory: Path, config: Path | None = None) -> Server:
    """Start Prometheus with `config`, or with one that scrapes nothing. Raises: Missing."""
    port = free_port()
    command = [
        str(programs() / _PROMETHEUS),
        f"--config.file={config or _write(directory / 'prometheus.yml', 'global: {scrape_interval: 1s}')}",
        f"--web.listen-address={LOOPBACK}:{port}",
        f"--storage.tsdb.path={directory / 'data'}",
        "--web.enable-lifecycle",
    ]
    url = f"http://{LOOPBACK}:{port}"
    return launch(_PROMETHEUS, command, directory, port=port, url=url, ready=lambda: answers(port))


def start_alertmanager(directory: Path, config: Path | None = None) -> Server:
    """Start Alertmanager with `config`, or with one that sends nothing. Raises: Missing."""
    port = free_port()
    shares = programs().parent / "share"
    quiet = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"
    command = [
        *_with_shares(shares),
        str(programs() / _ALERTMANAGER),
        f"--config.file={config or _write(directory / 'alertmanager.yml', quiet)}",
        f"--web.listen-address={LOOPBACK}:{port}",
        f"--storage.path={directory / 'data'}",
        "--cluster.listen-address=",  # one of it: no gossip
    ]
    url = f"http://{LOOPBACK}:{port}"
    return launch("alertmanager", command, directory, port=port, url=url, ready=lambda: answers(port))


def _with_shares(shares: Path) -> list[str]:
    """Words before a command that sees `shares` within /usr/share: Debian's Alertmanager has its templates there."""
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    mount = f'mount -t overlay overlay -o lowerdir={shares}:/usr/share /usr/share && exec "$@"'
    return [tool("unshare", "it is part of util-linux"), "--mount", *rights, "sh", "-c", mount, "sh"]


def hasty(text: str, times: float = 30.0) -> str:
    """Rules, routes and configuration as they are, but that all durations are `times` shorter; thresholds stay.

    A count within five minutes must so come within ten seconds. Nothing gets shorter than a second, the scrape
    interval, and no range shorter than four, or there are no two samples in it.
    """

    def shorter(least_s: float) -> Callable[["re.Match[str]"], str]:
        def write(found: "re.Match[str]") -> str:
            seconds = int(found["number"]) * _UNITS_S[found["unit"]]
            return f"{found['before']}{round(max(least_s, seconds / times) if seconds else 0)}s"

        return write

    text = re.sub(rf"(?P<before>\[){_DURATION}(?=\])", shorter(_LEAST_RANGE_S), text)
    text = re.sub(rf"(?P<before> offset ){_DURATION}\b", shorter(_LEAST_S), text)
    return re.sub(rf"(?P<before>\b(for|group_wait|\w+_interval): ){_DURATION}$", shorter(_LEAST_S), text, flags=re.M)


def promtool(*words: object) -> "subprocess.CompletedProcess[str]":
    """Run promtool, for example `check rules FILE` or `test rules FILE`. Raises: Missing."""
    command = [str(programs() / "promtool"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
