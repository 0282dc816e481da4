"""Calls that may never return, in threads that nobody waits for when the process ends.

Not `asyncio.to_thread` nor a ThreadPoolExecutor: at its end Python waits for the threads of such a pool, and a server
that takes a request and never answers would keep the process.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def in_daemon_thread(work: Callable[[], T], name: str) -> "Future[T]":
    """Do `work` in a thread of its own; the result, or what it raised, is in the future. It cannot be called off."""
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()  # whoever waits may be cancelled, the thread goes on

    def run() -> None:
        try:
            found = work()
        except BaseException as error:  # raised where it is waited for
            done.set_exception(error)
        else:
            done.set_result(found)

    threading.Thread(target=run, name=name, daemon=True).start()
    return done
