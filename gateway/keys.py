"""The keys that sign tokens: one secret for HS256, or the public keys of a JWKS file for RS256 and EdDSA.

A key says which algorithm it is for; a token's header never chooses. Files are read again when they change, so that
keys rotate without a restart; a file that cannot be used leaves the keys as they were.
Source: RFC 7517, RFC 7518, RFC 8037, RFC 8725, 2026-11.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from gateway.config import AuthConfig
from gateway.errors import BadKeys

MIN_SECRET_BYTES: Final = 32
"""RFC 7518 section 3.2: a key at least as long as the hash."""

MIN_RSA_BITS: Final = 2048
_MAX_FILE_BYTES: Final = 1024 * 1024
_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "k"})

_LOG: Final = logging.getLogger("mandi.gateway")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key that verifies. `fingerprint` tells it from others and is no secret."""

    algorithm: str
    material: Any = field(repr=False)
    fingerprint: str


class KeyRing:
    """The keys as their source has them now.

    State: the keys, and when the file that holds them last changed.
    Raises: BadKeys at the start, if there is no usable key.
    """

    def __init__(self, config: AuthConfig) -> None:
        self._config = config
        self._file = config.jwks_file or config.secret_file
        self._seen: tuple[int, int] | None = None
        self._keys: Mapping[str, Key] = {}
        if (config.jwks_file is None) == (config.secret is None and config.secret_file is None):
            raise BadKeys("tokens need either a secret or a JWKS file, one of the two")
        if self._file is None:
            self._keys = _secret_keys((config.secret or "").encode())
        else:
            self._read(self._file)

    def find(self, key_id: str | None) -> Key | None:
        """Return the key of a token's `kid`; without one, the only key there is."""
        self._refresh()
        if "" in self._keys:  # a secret has no id
            return self._keys[""]
        if key_id is not None:
            return self._keys.get(key_id)
        return next(iter(self._keys.values())) if len(self._keys) == 1 else None

    def fingerprints(self) -> frozenset[str]:
        """Return what is trusted now."""
        self._refresh()
        return frozenset(key.fingerprint for key in self._keys.values())

    def _refresh(self) -> None:
        if self._file is None:
            return
        try:
            self._read(self._file)
        except BadKeys as error:
            _LOG.error("the keys of tokens stay as they were: %s", error)

    def _read(self, file: Path) -> None:
        try:
            found = file.stat()
            seen = found.st_mtime_ns, found.st_size
            if seen == self._seen:
                return
            self._seen = seen  # also if it is of no use: that is said once
            if found.st_size > _MAX_FILE_BYTES:
                raise BadKeys(f"{file} is too large for a file of keys")
            content = file.read_bytes()
        except OSError as error:
            self._seen = None if not self._keys else self._seen
            raise BadKeys(f"{file} cannot be read: {error.strerror}") from None
        self._keys = _jwks_keys(content, file) if self._config.jwks_file else _secret_keys(content.strip())


def _secret_keys(secret: bytes) -> Mapping[str, Key]:
    if len(secret) < MIN_SECRET_BYTES:
        raise BadKeys(f"the secret for tokens has {len(secret)} bytes; HS256 needs {MIN_SECRET_BYTES}")
    return {"": Key(algorithm="HS256", material=secret, fingerprint=hashlib.sha256(secret).hexdigest())}


def _jwks_keys(content: bytes, file: Path) -> Mapping[str, Key]:
    try:
        members = json.loads(content)["keys"]
        found = {str(member.get("kid", index)): _public_key(member) for index, member in enumerate(members)}
    except BadKeys as error:
        raise BadKeys(f"{file}: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadKeys(f"{file} is no JWKS: an object with keys, each an object") from None
    if not found or len(found) != len(members):
        raise BadKeys(f"{file} needs keys, each with its own kid")
    return found


def _public_key(member: Mapping[str, Any]) -> Key:
    if member.get("kty") == "oct" or _PRIVATE_MEMBERS & set(member):
        raise BadKeys("a JWKS file holds public keys only")
    algorithm = {"RSA": "RS256", "OKP Ed25519": "EdDSA"}.get(f"{member.get('kty')} {member.get('crv', '')}".strip())
    if algorithm is None or member.get("alg", algorithm) != algorithm or member.get("use", "sig") != "sig":
        raise BadKeys("a key is RSA for RS256 or Ed25519 for EdDSA, for signatures")
    try:
        material = jwt.PyJWK(dict(member), algorithm=algorithm).key
    except (jwt.PyJWTError, ValueError):
        raise BadKeys("a key cannot be read") from None
    if isinstance(material, RSAPublicKey) and material.key_size < MIN_RSA_BITS:
        raise BadKeys(f"an RSA key has {material.key_size} bits; {MIN_RSA_BITS} are needed")
    parts = json.dumps({name: member.get(name) for name in ("kty", "crv", "n", "e", "x")}, sort_keys=True)
    return Key(algorithm=algorithm, material=material, fingerprint=hashlib.sha256(parts.encode()).hexdigest())
