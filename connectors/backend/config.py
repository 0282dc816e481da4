"""Where the trading backend's events are: addresses, checked once."""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

_TABLE: Final = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?", re.ASCII)
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}", re.ASCII)  # what Kafka allows
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5}", re.ASCII)


class BadAddress(ValueError):
    """An address that cannot be one. The text names it, without what may be a password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaConfig:
    """A topic. Every partition of it is read, those that are added later too."""

    servers: tuple[str, ...]
    topic: str

    @staticmethod
    def parse(url: str) -> "KafkaConfig":
        """Read `kafka://host:port,host:port/topic`. Raises: BadAddress.

        Example:
            >>> KafkaConfig.parse("kafka://a:9092,b:9092/desk.trades").topic
            'desk.trades'
        """
        found = urlsplit(url)
        servers, topic = tuple(found.netloc.split(",")), found.path.removeprefix("/")
        if found.scheme != "kafka" or found.query or not all(_HOST.fullmatch(server) for server in servers):
            raise BadAddress(f"'{url.split('@')[-1]}' is no address such as kafka://host:9092/topic")
        if not _TOPIC.fullmatch(topic):
            raise BadAddress(f"'{url}' does not name a topic: kafka://host:9092/topic")
        return KafkaConfig(servers=servers, topic=topic)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxConfig:
    """A table. `keep_s`: how long it keeps events that are on disk in our log; None: for ever."""

    dsn: str = field(repr=False)
    table: str = "trading.outbox"
    keep_s: float | None = None
    poll_s: float = 0.5
    """Between two looks when nobody notifies; a notification is followed at once."""
    blocked_s: float = 0.02
    """Between two looks while rows wait for a transaction that began before theirs."""
    batch_rows: int = 5_000

    def __post_init__(self) -> None:
        if not _TABLE.fullmatch(self.table):
            raise BadAddress(f"'{self.table}' is no table such as trading.outbox")
