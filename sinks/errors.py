"""What can go wrong on the way out.

SinkError
├── StoreUnavailable      the store is not there right now: try again, the rows are unharmed
├── StoreRejected         the store (or the check before it) refuses these rows: trying again cannot help
├── LogError              the log cannot be written
│   ├── WriterLocked      another writer has the topic-partition
│   ├── WriterFenced      another writer took the topic-partition over
│   └── LogWriteFailed    a write failed; this writer is done for good
├── MigrationError        a migration is missing, changed or failed
└── EmbeddedServerError   an embedded server cannot be started; the message says what to do
"""

from market.records import TopicPartition


class SinkError(Exception):
    """Base of everything this floor raises."""


class StoreUnavailable(SinkError):
    """The store `store` cannot be reached, is starting, stopping or was killed. Retryable."""

    def __init__(self, store: str, reason: str) -> None:
        super().__init__(f"{store} is not available: {reason}")
        self.store = store
        self.reason = reason


class StoreRejected(SinkError):
    """The store `store` refuses what it was sent. `code` is the SQLSTATE or the ClickHouse error number."""

    def __init__(self, store: str, reason: str, code: str = "") -> None:
        super().__init__(f"{store} rejected the rows{f' ({code})' if code else ''}: {reason}")
        self.store = store
        self.reason = reason
        self.code = code


class LogError(SinkError):
    """The log cannot be written."""


class WriterLocked(LogError):
    """Another writer holds `tp`; its process is `pid`, or 0 if it has not said."""

    def __init__(self, tp: TopicPartition, pid: int) -> None:
        super().__init__(f"another writer (pid {pid or 'unknown'}) has {tp}: stop it first")
        self.tp, self.pid = tp, pid


class WriterFenced(LogError):
    """Another writer took `tp` over after this one: the newest is the only one. `reason` says how it showed."""

    def __init__(self, tp: TopicPartition, reason: str) -> None:
        super().__init__(f"another writer took {tp} over ({reason}): this one stops. Do two of them run?")
        self.tp, self.reason = tp, reason


class LogWriteFailed(LogError):
    """A write failed, so that nobody knows what is in the log. Open a new writer when it is repaired."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the log was not written: {reason}")
        self.reason = reason


class MigrationError(SinkError):
    """Migration `name` of `store` cannot be applied."""

    def __init__(self, store: str, name: str, reason: str) -> None:
        super().__init__(f"migration {name} of {store}: {reason}")
        self.store = store
        self.name = name
        self.reason = reason


class EmbeddedServerError(SinkError):
    """The embedded server `server` cannot run. `reason` is what happened, `advice` what to do about it."""

    def __init__(self, server: str, reason: str, advice: str = "") -> None:
        super().__init__(f"embedded {server}: {reason}{f'; {advice}' if advice else ''}")
        self.server = server
        self.reason = reason
        self.advice = advice
