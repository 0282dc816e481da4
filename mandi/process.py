"""What every long-running process does: log, end with its supervisor, export metrics, and stop on a signal."""

import asyncio
import ctypes
import gc
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import prometheus_client
import uvloop

from mandi.disks import export_disks
from mandi.errors import MandiError
from mandi.pulse import beat
from mandi.running import Entry, registered
from mandi.settings import Settings
from mandi.supervisor import die_with_parent
from market.records import LogUnavailable
from sinks.errors import StoreUnavailable

LOOPBACK: Final = "127.0.0.1"
ANY_ADDRESS: Final = ("0.0.0.0", "::", "")
TRIM_EVERY_S: Final = 30.0

_log: Final = logging.getLogger(__name__)


def say(line: str) -> None:
    """Tell the person, or the log file, something worth a line."""
    print(line, flush=True)


@contextmanager
def service(settings: Settings, name: str, stop: threading.Event | None = None) -> Iterator[Entry]:
    """Run a service; `stop` is set on SIGTERM and Ctrl-C. `mandi doctor` knows it by `name`.

    A service that is told to stop while its store or broker is away ends well: what it had in hand comes again.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # a broker that is away: thousands of lines beside ours
    die_with_parent()
    gc.freeze()  # what was imported is never garbage: looking through it again and again took 50 ms each time
    beat()
    trim_heap(TRIM_EVERY_S)
    export_disks(settings)
    url = serve_metrics(settings.metrics_host if settings.metrics_port else LOOPBACK, settings.metrics_port or 0)
    if stop is not None:
        _set_on_signal(stop)
    try:
        with registered(settings.data_dir, name, url) as entry:
            yield entry
    except (StoreUnavailable, LogUnavailable) as error:
        if stop is None or not stop.is_set():
            raise
        _log.warning("stopped while it waited (%s); what was not written comes again at the next start", error)


def serve_metrics(host: str, port: int) -> str:
    """Serve what this process exports; port 0 takes a free one. Returns the address for this host.

    Raises: MandiError if it cannot be had.
    """
    try:
        server, _ = prometheus_client.start_http_server(port, addr=host)
    except OSError as error:
        do = "correct MANDI_METRICS_HOST or MANDI_METRICS_PORT"
        raise MandiError(f"metrics cannot be served on {host}:{port}: {error.strerror}; {do}") from error
    return f"http://{LOOPBACK if host in ANY_ADDRESS else host}:{server.server_port}/metrics"


def _set_on_signal(stop: threading.Event) -> None:
    """Set `stop` at once on SIGTERM or Ctrl-C, also while the main thread is inside Bytewax, outside Python."""
    receive, send = socket.socketpair()
    send.setblocking(False)
    # Never closed: else a later signal is written to whatever file has the number by then.
    signal.set_wakeup_fd(send.detach(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)

    def wait() -> None:
        while receive.recv(1):
            stop.set()

    threading.Thread(target=wait, name="signals", daemon=True).start()


def trim_heap(every_s: float) -> None:
    """Return freed memory to the system, again and again, where the C library can be told to (glibc).

    After a burst a flow has allocated for batches of 20,000 rows. What it frees lies between what it keeps, and glibc
    would keep that for ever: the store flows stayed 20 to 30 MiB larger after each of their worst bursts.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return

    def run() -> None:
        while True:
            time.sleep(every_s)
            trim(0)

    threading.Thread(target=run, name="trim", daemon=True).start()


def run_async(serve_until: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run an asyncio service until SIGTERM or Ctrl-C."""

    async def main() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve_until(stop)

    uvloop.run(main())
