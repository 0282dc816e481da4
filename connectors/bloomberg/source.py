"""The Bloomberg feed: the SDK's event loop in a thread, around a session.

The SDK is chosen by name (`blpapi`, or the simulator's facade) and imported when the feed is made. It connects,
reconnects and keeps alive by itself; when its session is over, a new one is made after a pause.
"""

import asyncio
import contextlib
import importlib
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from connectors.bloomberg.codec import Decoder
from connectors.bloomberg.config import BloombergConfig
from connectors.bloomberg.constants import MKTDATA, NEWS_SERVICE, SESSION_STATUS
from connectors.bloomberg.session import NEWS_KEY, RESUBSCRIBE, SUBSCRIBE, Command, Session
from connectors.daemon import in_daemon_thread
from connectors.errors import SdkMissing
from connectors.feed import FeedThread, Positions
from connectors.ticks import FeedOutput
from connectors.transport import Backoff

VENUE: Final = "bloomberg"

_POLL_MS: Final = 20  # granularity of timers, and of noticing a stop
_FULL_POLL_S: Final = 0.002


def load_sdk(name: str) -> Any:
    """Import the SDK. Raises: SdkMissing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SdkMissing(name, str(error)) from error


def open_feed(config: BloombergConfig, now: Callable[[], int], resume: Positions | None = None) -> FeedThread:
    """Build the feed, not yet started. `resume`: the positions of the rows that were written last.

    Raises: SdkMissing.
    """
    sdk = load_sdk(config.sdk)
    output = FeedOutput()
    session = Session(config, output, resume, Decoder(sdk.Name, sdk.Exception))
    source = _Source(config, sdk, session, now)
    return FeedThread(VENUE, session, output, source.run, now, max_rows=config.max_rows)


class _Source:
    def __init__(self, config: BloombergConfig, sdk: Any, session: Session, now: Callable[[], int]) -> None:
        self._config, self._sdk, self._session, self._now = config, sdk, session, now
        self._halt = threading.Event()

    async def run(self, feed: FeedThread, stop: asyncio.Event) -> None:
        """Run sessions of the SDK, one after the other, until `stop`."""
        halting = asyncio.create_task(self._halt_at(stop))
        backoff = Backoff()
        try:
            while not stop.is_set():
                began_s = time.monotonic()
                await asyncio.wrap_future(in_daemon_thread(partial(self._one_session, feed), "bloomberg-session"))
                if time.monotonic() - began_s >= self._config.stable_after_s:
                    backoff.reset()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(backoff.next_delay_s()):
                        await stop.wait()
        finally:
            self._halt.set()
            halting.cancel()

    async def _halt_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._halt.set()

    def _one_session(self, feed: FeedThread) -> None:
        options = self._options()
        session = self._sdk.Session(options)
        try:
            reason = self._start(session)
            if not reason:
                feed.on_open(self._now())
                reason = self._pump(session, feed)
        finally:
            session.stop()
        feed.on_close(None, self._now(), reason)

    def _options(self) -> Any:
        config, options = self._config, self._sdk.SessionOptions()
        options.setServerHost(config.host)
        options.setServerPort(config.port)
        options.setConnectTimeout(round(config.connect_timeout_s * 1e3))
        options.setNumStartAttempts(1)  # between two tries we wait ourselves
        options.setAutoRestartOnDisconnection(True)
        quiet_s, answer_s = config.keepalive_s
        options.setDefaultKeepAliveInactivityTime(round(quiet_s * 1e3))
        options.setDefaultKeepAliveResponseTimeout(round(answer_s * 1e3))
        options.setMaxEventQueueSize(config.queue_events)
        options.setSessionName("mandi")
        return options

    # Why it did not start; empty if it did. Events until then stay in the queue.
    def _start(self, session: Any) -> str:
        if not session.start():
            return self._failure(session)
        if not session.openService(MKTDATA):
            return f"service {MKTDATA} cannot be opened"
        if self._config.news:
            session.openService(NEWS_SERVICE)  # without it there are prices; the event tells
        return ""

    def _failure(self, session: Any) -> str:
        texts = []
        while (event := session.tryNextEvent()) is not None:
            if event.eventType() == SESSION_STATUS:
                texts += [" ".join(str(message).split()) for message in event]
        return texts[-1][:300] if texts else "the session did not start"

    def _pump(self, session: Any, feed: FeedThread) -> str:
        while not self._halt.is_set():
            event = session.nextEvent(_POLL_MS)
            now_ns = self._now()
            feed.receive(event, now_ns)
            due_ns = feed.next_timer_ns()
            if due_ns is not None and now_ns >= due_ns:
                feed.on_timer(now_ns)
            for command in self._session.commands():
                self._execute(session, command)
            if (lost := feed.lost()) is not None:
                return lost
            while feed.full() and not self._halt.is_set():  # the SDK's queue fills up behind us, and it warns
                time.sleep(_FULL_POLL_S)
        return "stopped"

    def _execute(self, session: Any, command: Command) -> None:
        entries = self._sdk.SubscriptionList()
        entries.add(command.topic, list(command.fields), None, self._sdk.CorrelationId(command.key))
        if command.kind == SUBSCRIBE:
            session.subscribe(entries)
        elif command.kind == RESUBSCRIBE and command.key != NEWS_KEY:
            session.resubscribe(entries)
        else:
            session.unsubscribe(entries)
