"""What one client's messages do: requests to the hub, answers to its queue, and a limit on their rate. Sans-I/O."""

from collections.abc import Callable
from typing import Final

from gateway import protocol
from gateway.auth import NOTHING, Standing
from gateway.client import QUEUE_LIMIT_BYTES, ClientQueue
from gateway.errors import AuthError, RequestError
from gateway.hub import MAX_SUBSCRIPTIONS, Hub
from gateway.packing import unpack_json
from gateway.protocol import Auth, Ping, Request, Subscribe, Unsubscribe, text_frame
from gateway.stream import RING_UPDATES

MAX_MESSAGE_BYTES: Final = 16 * 1024
MESSAGES_PER_S: Final = 20.0
MESSAGES_BURST: Final = 256.0
"""Enough to subscribe to everything allowed at once; then a steady rate no program needs more of."""

HEARTBEAT_S: Final = 5.0


class TokenBucket:
    """Admits `burst` at once and `per_s` a second after that. `now_s` must not go back."""

    __slots__ = ("_burst", "_last_s", "_per_s", "_tokens")

    def __init__(self, per_s: float, burst: float, now_s: float) -> None:
        self._per_s, self._burst = per_s, burst
        self._tokens, self._last_s = burst, now_s

    def admit(self, now_s: float) -> bool:
        self._tokens = min(self._burst, self._tokens + (now_s - self._last_s) * self._per_s)
        self._last_s = now_s
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def limits() -> dict[str, object]:
    """Return what `welcome` tells about limits; units are in the names."""
    return {
        "subscriptions": MAX_SUBSCRIPTIONS,
        "instruments_per_subscription": protocol.MAX_PATTERNS,
        "message_bytes": MAX_MESSAGE_BYTES,
        "messages_per_s": MESSAGES_PER_S,
        "messages_burst": MESSAGES_BURST,
        "queue_bytes": QUEUE_LIMIT_BYTES,
        "resume_updates": RING_UPDATES,
        "heartbeat_s": HEARTBEAT_S,
    }


def welcome_frame(epoch: str) -> bytes:
    return text_frame(protocol.message("welcome", epoch=epoch, limits=limits()))


class Session:
    """One connection's conversation."""

    def __init__(
        self,
        hub: Hub,
        queue: ClientQueue,
        clock_s: Callable[[], float],
        decode: Callable[[str | bytes], object] = unpack_json,
        standing: Standing | None = None,  # None: no token is asked for
    ) -> None:
        self._decode, self._standing = decode, standing
        self._hub, self._queue, self._clock_s = hub, queue, clock_s
        self._bucket = TokenBucket(MESSAGES_PER_S, MESSAGES_BURST, clock_s())

    def open(self) -> None:
        """Begin; who has shown no token yet is welcomed when it does."""
        if self._standing is None:
            self._hub.join(self._queue)
        elif self._standing.identity is None:
            self._hub.join(self._queue, NOTHING)
            return
        else:
            self._hub.join(self._queue, self._standing.identity.grant)
        self._welcome()

    def receive(self, text: str | bytes) -> bool:
        """Act on one message; return False if the client sends too many and must go."""
        if not self._bucket.admit(self._clock_s()):
            return False
        try:
            self._act(protocol.parse(self._decode(text)))
        except RequestError as error:
            self._hub.counts.refusals[error.code] += 1
            self._queue.control(text_frame(protocol.error_message(error)))
        return True

    def close(self) -> None:
        self._hub.leave(self._queue)

    def _act(self, request: Request) -> None:
        match request:
            case Subscribe() if self._standing is not None and self._standing.identity is None:
                raise RequestError("not_authenticated", "send auth with a token first", request.id)
            case Subscribe():
                self._hub.subscribe(self._queue, request)
            case Unsubscribe(request_id):
                self._hub.unsubscribe(self._queue, request_id)
            case Ping(request_id):
                members = {} if request_id is None else {"id": request_id}
                self._queue.control(text_frame(protocol.message("pong", **members)))
            case Auth(token):
                self._authenticate(token)
                self._welcome()

    def _authenticate(self, token: str) -> None:
        standing = self._standing
        if standing is None:  # anyone may see everything
            return
        try:
            identity = standing.verifier.verify(token)
        except AuthError as error:
            raise RequestError(error.code, error.message) from None
        if standing.identity is not None and standing.identity.grant.user != identity.grant.user:
            raise RequestError("bad_token", "a new token must be of the same user")
        standing.identity = identity
        self._hub.regrant(self._queue, identity.grant)

    def _welcome(self) -> None:
        self._queue.control(welcome_frame(self._hub.epoch))
