"""The error tree of the connectors; what a handler needs is on attributes, never only in the text.

ConnectorError
├── DecodeError        bytes that are no message of the venue's protocol
├── ValueRefused       a well-formed field whose value cannot be a row (a reason of REJECT_REASONS)
│   └── PriceRefused   a price that is none of its contract
├── RestRefused        a REST request was answered with an error, or not at all
├── SdkMissing         a vendor's SDK cannot be imported
├── SessionLost        the connection ended and the session says why
└── FeedFailed         the thread of a feed died; its cause is `__cause__`
"""


class ConnectorError(Exception):
    """Base of every error a connector raises."""


class DecodeError(ConnectorError):
    """Bytes that are no message. `reason` is one of REJECT_REASONS, `detail` says what was wrong, in words."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class ValueRefused(ConnectorError):
    """A value that must not become a row. `reason` is one of REJECT_REASONS, `detail` the value in words."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class PriceRefused(ValueRefused):
    """A price in the venue's own form that is none of its contract: the message is not to blame."""


class RestRefused(ConnectorError):
    """A REST request that brought nothing. `status` of HTTP, or 0 without an answer; `reason` as the venue names it."""

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(f"{status} {reason}: {detail}" if status else f"{reason}: {detail}")
        self.status, self.reason, self.detail = status, reason, detail


class SdkMissing(ConnectorError):
    """A vendor's SDK that cannot be imported. Carries `module` and `detail`."""

    def __init__(self, module: str, detail: str) -> None:
        super().__init__(f"the SDK '{module}' cannot be imported: {detail}")
        self.module, self.detail = module, detail


class FeedFailed(ConnectorError):
    """The thread of a feed died of an error it does not know. Carries `feed`; the error is its `__cause__`."""

    def __init__(self, feed: str) -> None:
        super().__init__(f"the {feed} feed stopped because of an unexpected error")
        self.feed = feed
