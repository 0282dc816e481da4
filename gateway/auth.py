"""Who a client is and what it may see: a JWT's claims -> Grant. No I/O but that of the keys.

Claims: `sub` (the user), `exp` (required), `nbf`, `iss`, `aud`, and two lists of our own:

* `mandi_venues`: venues by MIC, such as ["XCEC", "IFUS"], or ["*"]
* `mandi_channels`: channels, such as ["trades", "bars"], or ["*"]

What a list does not name is not granted; a list that is absent grants nothing.
Source: RFC 7519, RFC 8725; OWASP ASVS 5.0 V9, 2026-11.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jwt

from gateway.errors import AuthError, HttpError
from gateway.keys import KeyRing

VENUES_CLAIM: Final = "mandi_venues"
CHANNELS_CLAIM: Final = "mandi_channels"
OWN_CHANNELS: Final = frozenset({"user.trades"})
"""Channels that carry to each user what is theirs (`sub`), and to nobody else."""

LEEWAY_S: Final = 5.0
"""What clocks may differ by."""

NOTICE_S: Final = 30.0
"""How long before its token ends a client is told."""

AUTH_TIMEOUT_S: Final = 10.0
"""How long a stream may stay open without a token."""

MAX_TOKEN_CHARS: Final = 7_000  # a header line of the library has at most 8,192
_MAX_ENTRIES: Final = 256
_BEARER: Final = re.compile(r"Bearer +([A-Za-z0-9._~+/=-]+)", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a client may see. None: everything."""

    user: str = ""
    venues: frozenset[str] | None = None
    channels: frozenset[str] | None = None

    def has_channel(self, channel: str) -> bool:
        return self.channels is None or channel in self.channels

    def has_venue(self, venue: str) -> bool:
        return self.venues is None or venue in self.venues

    def has_venues(self, venues: frozenset[str]) -> bool:
        """Tell whether all of them are granted."""
        return self.venues is None or venues <= self.venues

    def sees(self, instrument: str) -> bool:
        """Tell whether the venue of a key, or `MIC:*`, is granted."""
        return self.venues is None or instrument.partition(":")[0] in self.venues

    def owns(self, user: str) -> bool:
        """Tell whether what is one user's own ("": everybody's) may be seen."""
        return user in ("", self.user)

    def refusal(self, channel: str, patterns: Sequence[str]) -> str:
        """Return why a subscription is refused, empty if it is not.

        A pattern that leaves the venue open covers what is granted; one that names a foreign venue is refused.
        """
        if not self.has_channel(channel):
            return f"your token does not grant channel {channel}"
        if channel in OWN_CHANNELS and not self.user:
            return f"channel {channel} is each user's own: it needs a token that says who you are"
        for pattern in patterns:
            venue = pattern.partition(":")[0]
            if "*" not in venue and not self.has_venue(venue):
                return f"your token does not grant venue {venue}"
        return ""


EVERYTHING: Final = Grant()
NOTHING: Final = Grant(venues=frozenset(), channels=frozenset())


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A verified token, without the token."""

    grant: Grant
    expires_s: float
    key: str  # fingerprint of the key that signed it


class Verifier:
    """Verifies tokens against the keys as they are now. `wall_s` is UTC, not the market's clock."""

    def __init__(self, keys: KeyRing, *, issuer: str | None, audience: str | None, wall_s: Callable[[], float]) -> None:
        self._keys, self._issuer, self._audience, self.wall_s = keys, issuer, audience, wall_s

    def verify(self, token: str) -> Identity:
        """Return who a token stands for.

        Raises: AuthError with code bad_token, token_expired or token_not_yet_valid. It never quotes the token.
        """
        if len(token) > MAX_TOKEN_CHARS:
            raise AuthError("bad_token", "the token is too long")
        try:
            claims, fingerprint = self._decode(token)
            expires_s = _number(claims["exp"])
            starts_s = _number(claims.get("nbf", 0))
            user = claims["sub"]
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError):
            # Which check failed is for the issuer's tests, not for who tries tokens out.
            raise AuthError("bad_token", "the token is not valid here") from None
        now_s = self.wall_s()
        if now_s >= expires_s + LEEWAY_S:
            raise AuthError("token_expired", "the token has expired")
        if now_s < starts_s - LEEWAY_S:
            raise AuthError("token_not_yet_valid", "the token is not valid yet")
        grant = Grant(user=user, venues=_granted(claims, VENUES_CLAIM), channels=_granted(claims, CHANNELS_CLAIM))
        return Identity(grant=grant, expires_s=expires_s, key=fingerprint)

    def trusts(self, identity: Identity) -> bool:
        """Tell whether the key of an identity is still one of ours."""
        return identity.key in self._keys.fingerprints()

    def _decode(self, token: str) -> tuple[dict[str, Any], str]:
        header = jwt.get_unverified_header(token)
        key = self._keys.find(header.get("kid"))
        if key is None or header.get("typ", "JWT").lower() not in ("jwt", "at+jwt"):
            raise ValueError
        claims: dict[str, Any] = jwt.decode(
            token,
            key.material,
            algorithms=[key.algorithm],  # the key's, whatever the header says
            issuer=self._issuer,
            audience=self._audience,
            options={
                "require": ["exp", "sub"],
                "verify_aud": self._audience is not None,
                # Times are checked here, by our clock.
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
        if not claims["sub"] or len(claims["sub"]) > 128:
            raise ValueError
        return claims, key.fingerprint


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    return float(value)


def _granted(claims: dict[str, Any], name: str) -> frozenset[str] | None:
    value = claims.get(name, [])
    if not isinstance(value, list) or len(value) > _MAX_ENTRIES or not all(isinstance(each, str) for each in value):
        raise AuthError("bad_token", f"{name} is a list of names")
    return None if "*" in value else frozenset(value)


def bearer_token(values: Sequence[str]) -> str | None:
    """Return the token of a request's Authorization headers, None if there is none.

    Raises: HttpError 401 if they hold anything else.
    """
    if not values:
        return None
    found = _BEARER.fullmatch(values[0].strip()) if len(values) == 1 else None
    if found is None:
        raise HttpError(401, "bad_token", "Authorization is one header: Bearer and a token")
    return found[1]


class Standing:
    """How long one connection may stay: until it must show a token, or until its token ends."""

    __slots__ = ("_opened_s", "_warned_for", "identity", "verifier")

    def __init__(self, verifier: Verifier, identity: Identity | None) -> None:
        self.verifier, self.identity = verifier, identity
        self._opened_s = verifier.wall_s()
        self._warned_for: Identity | None = None

    def ended(self) -> tuple[str, str] | None:
        """Return the code and the words if it is over."""
        now_s, identity = self.verifier.wall_s(), self.identity
        if identity is None:
            late = now_s - self._opened_s > AUTH_TIMEOUT_S
            return ("not_authenticated", f"no token within {AUTH_TIMEOUT_S:g} s") if late else None
        if now_s >= identity.expires_s:
            return "token_expired", "your token has expired; connect with a new one"
        if not self.verifier.trusts(identity):
            return "token_revoked", "the key of your token is no longer trusted"
        return None

    def notice_due(self) -> Identity | None:
        """Return the identity whose end is near, once."""
        identity = self.identity
        if identity is None or identity is self._warned_for:
            return None
        if identity.expires_s - self.verifier.wall_s() > NOTICE_S:
            return None
        self._warned_for = identity
        return identity
