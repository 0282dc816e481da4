"""What the two ways to the backend's events have in common: messages with positions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from connectors.errors import ConnectorError

BACKEND: Final = "backend"
"""The `venue` of the ledger's rows and of the metrics."""

Positions = Mapping[str, str]
"""By channel (a partition, a table): where its next message is. The text is the source's own."""


class SourceUnavailable(ConnectorError):
    """A source that does not answer, or not as it should. Reading is tried again. Carries `source`."""

    def __init__(self, source: str, reason: object) -> None:
        super().__init__(f"{source}: {' '.join(str(reason).split())}")
        self.source = source


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An event as it came. `offset` in `channel` names it for ever, in the ledger too."""

    channel: str
    offset: int
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Messages:
    """What one read gave: messages in order, where their channels stand behind them, and what is known to be lost."""

    messages: Sequence[Message] = ()
    positions: Positions = field(default_factory=dict)
    gaps: Sequence[Mapping[str, Any]] = ()


class Source(Protocol):
    """One way to the events. Used from one thread."""

    @property
    def name(self) -> str:
        """Label of the metrics: `kafka`, `outbox`."""

    def read(self, timeout_s: float) -> Messages:
        """Return what came since the last read, waiting for it at most about `timeout_s`.

        Raises: SourceUnavailable. The next read connects anew and goes on where the last one that returned stopped.
        """

    def forget(self, positions: Positions) -> None:
        """All before these positions is on disk in the log: the backend need not keep it for us.

        Raises: SourceUnavailable.
        """

    def close(self) -> None: ...
