"""Keys and tokens for the tests of access."""

import json
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SECRET = "s" * 32
NOW_S = 1_800_000_000.0
RSA_KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
ED_KEY = Ed25519PrivateKey.generate()


def claims(**changes: Any) -> dict[str, Any]:
    return {
        "sub": "asha",
        "exp": NOW_S + 600,
        "mandi_venues": ["XCEC"],
        "mandi_channels": ["trades", "quotes", "status"],
    } | changes


def token(key: Any = SECRET, algorithm: str = "HS256", headers: dict[str, Any] | None = None, **changes: Any) -> str:
    payload = {name: value for name, value in claims(**changes).items() if value is not None}
    return jwt.encode(payload, key, algorithm=algorithm, headers=headers)


def jwk(key: Any, **members: Any) -> dict[str, Any]:
    algorithm: Any = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.OKPAlgorithm
    return {**json.loads(algorithm.to_jwk(key.public_key())), **members}


def write_jwks(file: Path, *keys: dict[str, Any]) -> None:
    file.write_text(json.dumps({"keys": keys}))
