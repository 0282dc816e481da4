"""Tokens: what is accepted, every refusal, what a grant covers, and that keys rotate."""

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from gateway_tokens import ED_KEY, NOW_S, RSA_KEY, SECRET, claims, jwk, token, write_jwks
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth import LEEWAY_S, MAX_TOKEN_CHARS, NOTICE_S, Grant, Standing, Verifier, bearer_token
from gateway.config import AuthConfig
from gateway.errors import AuthError, BadKeys, HttpError
from gateway.keys import KeyRing


def verifier(config: AuthConfig | None = None, now_s: Callable[[], float] = lambda: NOW_S) -> Verifier:
    config = config or AuthConfig(secret=SECRET)
    return Verifier(KeyRing(config), issuer=config.issuer, audience=config.audience, wall_s=now_s)


def code_of(found: Verifier, text: str) -> str:
    with pytest.raises(AuthError) as refused:
        found.verify(text)
    assert text not in str(refused.value)
    return refused.value.code


@pytest.fixture
def jwks(tmp_path: Path) -> AuthConfig:
    file = tmp_path / "keys.json"
    write_jwks(file, jwk(RSA_KEY, kid="r"), jwk(ED_KEY, kid="e", use="sig"))
    return AuthConfig(jwks_file=file)


def test_a_good_token_of_each_algorithm_is_accepted(jwks: AuthConfig) -> None:
    wanted = Grant(user="asha", venues=frozenset({"XCEC"}), channels=frozenset({"trades", "quotes", "status"}))
    assert verifier().verify(token()).grant == wanted
    assert verifier(jwks).verify(token(RSA_KEY, "RS256", {"kid": "r"})).grant == wanted
    assert verifier(jwks).verify(token(ED_KEY, "EdDSA", {"kid": "e"})).grant == wanted


def test_stars_grant_all_and_absent_lists_nothing() -> None:
    assert verifier().verify(token(mandi_venues=["*"], mandi_channels=["*"])).grant == Grant(user="asha")
    grant = verifier().verify(token(mandi_venues=None, mandi_channels=None)).grant
    assert (grant.venues, grant.channels) == (frozenset(), frozenset())


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 129},
        {"exp": None},
        {"exp": "soon"},
        {"exp": True},
        {"exp": float("inf")},
        {"exp": float("nan")},
        {"nbf": "x"},
        {"mandi_venues": "XCEC"},
        {"mandi_venues": [1]},
        {"mandi_channels": {"*": 1}},
        {"mandi_channels": ["x"] * 257},
    ],
)
def test_wrong_claims_are_refused(changes: dict[str, Any]) -> None:
    payload = {name: value for name, value in claims(**changes).items() if value is not None}
    signed = jwt.PyJWS().encode(json.dumps(payload).encode(), SECRET, "HS256")
    assert code_of(verifier(), signed) == "bad_token"


def test_times_have_a_small_leeway_and_no_more() -> None:
    assert code_of(verifier(), token(exp=NOW_S - LEEWAY_S)) == "token_expired"
    verifier().verify(token(exp=NOW_S - LEEWAY_S + 1))
    assert code_of(verifier(), token(nbf=NOW_S + LEEWAY_S + 1)) == "token_not_yet_valid"
    verifier().verify(token(nbf=NOW_S + LEEWAY_S - 1))


def test_issuer_and_audience_are_checked_if_set() -> None:
    strict = verifier(AuthConfig(secret=SECRET, issuer="desk", audience="mandi"))
    strict.verify(token(iss="desk", aud=["mandi", "other"]))
    for changes in ({}, {"iss": "desk"}, {"iss": "else", "aud": "mandi"}, {"iss": "desk", "aud": "else"}):
        assert code_of(strict, token(**changes)) == "bad_token"
    verifier().verify(token(iss="anyone", aud="anything"))


def _unsigned(algorithm: str) -> str:
    parts = ({"alg": algorithm, "typ": "JWT"}, claims())
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return f"{encoded[0]}.{encoded[1]}."


def test_the_token_never_chooses_its_algorithm_or_key(jwks: AuthConfig) -> None:
    public = RSA_KEY.public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    # PyJWT refuses to sign with a public key as a secret: an attacker's library does not.
    forged = _hs256(pem, {"kid": "r"})
    other = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    for bad in (
        _unsigned("none"),
        _unsigned("None"),
        _unsigned("HS256"),
        forged,
        token("s" * 64, "HS512"),
        token(RSA_KEY, "RS512", {"kid": "r"}),
        token(RSA_KEY, "PS256", {"kid": "r"}),
        token(other, "RS256", {"kid": "r"}),
        token(RSA_KEY, "RS256", {"kid": "e"}),
        token(RSA_KEY, "RS256", {"kid": "x"}),
        token(RSA_KEY, "RS256"),  # two keys, none named
        token(other, "RS256", {"kid": "r", "jwk": jwk(other)}),
        token(other, "RS256", {"kid": "r", "jku": "https://evil.example/keys"}),
        token(RSA_KEY, "RS256", {"kid": "r", "typ": "dpop+jwt"}),
        token(RSA_KEY, "RS256", {"kid": "r", "crit": ["exp"]}),
    ):
        assert code_of(verifier(jwks), bad) == "bad_token"
    long = "s" * 64
    for bad in (_unsigned("none"), token("t" * 64), token(long, "HS512"), token(RSA_KEY, "RS256")):
        assert code_of(verifier(AuthConfig(secret=long)), bad) == "bad_token"


def _hs256(secret: bytes, headers: dict[str, str]) -> str:
    import hashlib
    import hmac

    def encode(part: bytes) -> str:
        return base64.urlsafe_b64encode(part).rstrip(b"=").decode()

    head = encode(json.dumps({"alg": "HS256", "typ": "JWT", **headers}).encode())
    signed = f"{head}.{encode(json.dumps(claims()).encode())}"
    return f"{signed}.{encode(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def test_the_forger_of_these_tests_can_sign() -> None:
    verifier().verify(_hs256(SECRET.encode(), {}))


@given(st.text(max_size=60) | st.from_regex(r"\A[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\Z"))
def test_any_text_is_a_bad_token(text: str) -> None:
    with pytest.raises(AuthError) as refused:
        _SHARED.verify(text)
    assert refused.value.code == "bad_token"


_SHARED = verifier()


def test_a_token_that_is_too_long_is_not_looked_at() -> None:
    assert code_of(verifier(), token(x="y" * MAX_TOKEN_CHARS)) == "bad_token"


def _rewrite(file: Path, *keys: dict[str, Any]) -> None:
    before_ns = file.stat().st_mtime_ns
    write_jwks(file, *keys)
    os.utime(file, ns=(before_ns + 1_000, before_ns + 1_000))  # coarse clocks of file systems must not hide it


def test_keys_rotate_without_a_restart(jwks: AuthConfig) -> None:
    assert jwks.jwks_file is not None
    found = verifier(jwks)
    old = found.verify(token(RSA_KEY, "RS256", {"kid": "r"}))
    assert found.trusts(old)
    _rewrite(jwks.jwks_file, jwk(ED_KEY, kid="e"))
    assert code_of(found, token(RSA_KEY, "RS256", {"kid": "r"})) == "bad_token"
    assert not found.trusts(old)
    jwks.jwks_file.write_text("{")  # half written: the keys stay
    found.verify(token(ED_KEY, "EdDSA", {"kid": "e"}))
    jwks.jwks_file.unlink()
    found.verify(token(ED_KEY, "EdDSA"))  # the only key needs no name
    write_jwks(jwks.jwks_file, jwk(RSA_KEY, kid="r"))
    assert found.trusts(old)


def test_a_secret_in_a_file_rotates(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    found = verifier(AuthConfig(secret_file=file))
    found.verify(token())
    file.write_text("t" * 40)
    assert code_of(found, token()) == "bad_token"
    found.verify(token("t" * 40))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"keys":[]}',
        '{"keys":[1]}',
        '{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}',
        '{"keys":[{"kty":"EC","crv":"P-256"}]}',
        '{"keys":[{"kty":"RSA"}]}',
        json.dumps({"keys": [jwk(RSA_KEY, alg="RS512")]}),
        json.dumps({"keys": [jwk(RSA_KEY, use="enc")]}),
        json.dumps({"keys": [jwk(RSA_KEY, d="AQAB")]}),
        json.dumps({"keys": [jwk(RSA_KEY, kid="a"), jwk(ED_KEY, kid="a")]}),
        json.dumps({"keys": [jwk(rsa.generate_private_key(public_exponent=65_537, key_size=1024))]}),
    ],
)
def test_a_file_without_usable_keys_ends_the_start(tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(content)
    with pytest.raises(BadKeys):
        KeyRing(AuthConfig(jwks_file=file))


def test_settings_of_keys_that_make_no_sense_end_the_start(tmp_path: Path) -> None:
    for config in (
        AuthConfig(),
        AuthConfig(secret="short"),
        AuthConfig(secret=SECRET, jwks_file=tmp_path / "keys.json"),
        AuthConfig(jwks_file=tmp_path / "none.json"),
        AuthConfig(secret_file=tmp_path / "none"),
    ):
        with pytest.raises(BadKeys) as refused:
            KeyRing(config)
        assert "short" not in str(refused.value)
    assert SECRET not in repr(AuthConfig(secret=SECRET))


@pytest.mark.parametrize(
    "values", [["Basic x"], ["Bearer"], ["Bearer a b"], ["Bearer a", "Bearer b"], ["Bearer a\x00"]]
)
def test_a_header_that_is_no_bearer_token_is_refused(values: list[str]) -> None:
    with pytest.raises(HttpError) as refused:
        bearer_token(values)
    assert (refused.value.status, refused.value.code) == (401, "bad_token")


def test_a_bearer_token_is_read() -> None:
    assert bearer_token([]) is None
    assert bearer_token(["bearer a.b-c_d"]) == "a.b-c_d"


def test_a_connection_is_told_before_its_token_ends_and_ends_with_it() -> None:
    now = [NOW_S]
    found = verifier(now_s=lambda: now[0])
    standing = Standing(found, found.verify(token(exp=NOW_S + 100)))
    assert (standing.notice_due(), standing.ended()) == (None, None)
    now[0] += 100 - NOTICE_S
    assert standing.notice_due() is standing.identity
    assert standing.notice_due() is None  # once
    standing.identity = found.verify(token(exp=NOW_S + 200))
    now[0] = NOW_S + 200 - NOTICE_S
    assert standing.notice_due() is not None  # of the new one, again
    now[0] = NOW_S + 200
    assert standing.ended() is not None


def test_patterns_that_name_a_foreign_venue_are_refused_and_open_ones_are_not() -> None:
    grant = Grant(venues=frozenset({"XCEC"}), channels=frozenset({"trades"}))
    assert not grant.refusal("trades", ["*", "X*:GC:*", "XCEC:GC:202612"])
    assert "XIMC" in grant.refusal("trades", ["*", "XIMC:*"])
    assert "bars" in grant.refusal("bars", ["*"])
    assert grant.sees("XCEC:*")
    assert not grant.sees("XIMC:GOLD:202612")
