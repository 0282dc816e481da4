"""Who we are in a FIX session, and how it is kept."""

from dataclasses import dataclass, field
from typing import Final

RAW_DATA_AUTH: Final = "raw_data"
USERNAME_AUTH: Final = "username"
NO_AUTH: Final = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """One FIX session. The password never shows in `repr`."""

    sender: str
    target: str
    begin_string: str = "FIX.4.4"
    application_version: str | None = None
    """DefaultApplVerID (1137), where BeginString is FIXT.1.1."""
    heartbeat_s: int = 10
    auth: str = USERNAME_AUTH
    username: str = ""
    password: str = field(default="", repr=False)
    reset_on_logon: bool = False
    """Count from 1 at every log-on (141=Y): then nothing is resent."""
    precision: str = "ms"
    """Of the times we send: s, ms, us, ns."""
