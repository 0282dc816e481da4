"""Errors the gateway tells its clients.

GatewayError
├── BadKeys         the keys for tokens cannot be used
├── AuthError       a token was refused: `code`, `message`
├── RequestError    a message on the stream was refused: `id`, `code`, `message`
└── HttpError       a REST request was refused: `status`, `code`, `message`
    └── StoreDown   the history store does not answer (503); the streams go on
"""


class GatewayError(Exception):
    """Root of what the gateway raises on purpose."""


class RequestError(GatewayError):
    """A client's stream message was refused. `id` is the request's, when it could be read."""

    def __init__(self, code: str, message: str, request_id: int | str | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.id = code, message, request_id


class BadKeys(GatewayError):
    """The keys for tokens cannot be used. Never quotes them."""


class AuthError(GatewayError):
    """A token was refused. Never quotes it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


class HttpError(GatewayError):
    """A REST request was refused with an HTTP status and a code a program can match."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message = status, code, message


class StoreDown(HttpError):
    """The history store is not configured or does not answer."""

    def __init__(self, message: str) -> None:
        super().__init__(503, "store_unavailable", message)
