"""What can go wrong on the way out.

SinkError
├── StoreUnavailable      the store is not there right now: try again, the rows are unharmed
├── StoreRejected         the store (or the check before it) refuses these rows: trying again cannot help
├── MigrationError        a migration is missing, changed or failed
└── EmbeddedServerError   an embedded server cannot be started; the message says what to do
"""


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
