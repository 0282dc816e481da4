"""HTTP sessions of the embedded ClickHouse: handles that keep settings, database and temporary tables."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from sinks.embedded.engine import Engine, EngineError, Handle
from sinks.embedded.sqltext import tokens

DEFAULT_TIMEOUT_S: Final = 60.0  # ClickHouse's default_session_timeout
MAX_TIMEOUT_S: Final = 3600.0  # and max_session_timeout
_SESSION_NOT_FOUND: Final = 372
_SESSION_IS_LOCKED: Final = 373


class Session:
    """A handle, and what SET statements changed on it, so that settings of one request can be taken back."""

    def __init__(self, handle: Handle) -> None:
        self.handle = handle
        self.lock = threading.Lock()
        self.settings: dict[str, str] = {}
        self.expires_s = 0.0

    def remember(self, sql: str) -> None:
        """Note the assignments of a SET statement that was executed."""
        found = list(tokens(sql))
        if not found or not found[0].is_word("set"):
            return
        for at, token in enumerate(found):
            if token.text == "=" and at + 1 < len(found):
                self.settings[found[at - 1].text] = found[at + 1].text

    @contextmanager
    def with_settings(self, settings: Mapping[str, str]) -> Iterator[None]:
        """Apply `settings` for the time of one request."""
        self.handle.set(settings)
        try:
            yield
        finally:
            self.handle.set({name: self.settings.get(name, "DEFAULT") for name in settings})


class Sessions:
    """The open sessions by id. Those without an id live for one request."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._open: dict[str, Session] = {}

    @contextmanager
    def session(self, session_id: str | None, timeout_s: float, must_exist: bool) -> Iterator[Session]:
        """Lend the session of an id to one request. Raises: EngineError when it is in use, or not there."""
        if session_id is None:
            single = Session(self._engine.open())
            try:
                yield single
            finally:
                single.handle.close()
            return
        kept = self._take(session_id, must_exist)
        try:
            yield kept
        finally:
            kept.expires_s = time.monotonic() + min(timeout_s, MAX_TIMEOUT_S)
            kept.lock.release()

    def _take(self, session_id: str, must_exist: bool) -> Session:
        with self._lock:
            self._close_expired()
            kept = self._open.get(session_id)
            if kept is None and must_exist:
                raise _session_error(_SESSION_NOT_FOUND, "Session not found", "SESSION_NOT_FOUND")
            if kept is None:
                kept = self._open[session_id] = Session(self._engine.open())
            if not kept.lock.acquire(blocking=False):
                raise _session_error(
                    _SESSION_IS_LOCKED, "Session is locked by a concurrent client", "SESSION_IS_LOCKED"
                )
            return kept

    def _close_expired(self) -> None:
        now_s = time.monotonic()
        for session_id, kept in list(self._open.items()):
            if kept.expires_s < now_s and kept.lock.acquire(blocking=False):
                del self._open[session_id]
                kept.handle.close()


def _session_error(code: int, message: str, name: str) -> EngineError:
    return EngineError(f"Code: {code}. DB::Exception: {message}. ({name})", code)
