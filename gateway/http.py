"""Plain HTTP on the gateway's port: routes, the dashboard bundle, headers. GET and HEAD only.

A response is a value (`Reply`); only `as_response` knows the library. One request per connection: the library
answers and closes.
"""

import email.utils
import gzip
import mimetypes
import re
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson
from websockets.datastructures import Headers
from websockets.http11 import Response

from gateway.errors import HttpError

JSON_TYPE: Final = "application/json"
TEXT_TYPE: Final = "text/plain; charset=utf-8"
_HTML_TYPE: Final = "text/html; charset=utf-8"

# Named here because the tables of `mimetypes` differ from machine to machine.
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": _HTML_TYPE,
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": JSON_TYPE,
    ".map": JSON_TYPE,
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": TEXT_TYPE,
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_COMPRESSIBLE: Final = re.compile(r"text/|application/(json|manifest|wasm)|image/svg")
_COMPRESS_FROM_BYTES: Final = 1024

# Vite names an asset by the hash of its content, so that it can be kept for ever.
_HASHED: Final = re.compile(r"/assets/.*[.-][A-Za-z0-9_-]{8,}\.[a-z0-9]+$")
_FOR_EVER: Final = "public, max-age=31536000, immutable"

SAFETY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_ERROR_HEADERS: Final = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}}
_PAGE_POLICY: Final = (
    "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data: blob:; "
    "style-src 'self' 'unsafe-inline'; worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'"
)

_NO_BUNDLE: Final = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Mandi gateway</title>
<h1>The gateway runs; its dashboard is not built</h1>
<p>Run <code>make setup</code>, which builds it, then start again. Programs need no dashboard:</p>
<ul><li>live data: WebSocket at <code>/v1/stream</code></li>
<li>history: <a href="/v1/openapi.json">/v1/openapi.json</a> lists the requests</li>
<li>state: <a href="/readyz">/readyz</a>, <a href="/metrics">/metrics</a></li></ul></html>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A request's path and parameters, decoded."""

    path: str
    parameters: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    body: bytes
    status: int = 200
    content_type: str = JSON_TYPE
    headers: dict[str, str] = field(default_factory=dict)


def parse_target(raw: str) -> Target:
    """Return the path and parameters of a request line's target.

    Raises: HttpError 400 if it is not a path, not UTF-8, or repeats a parameter.
    """
    try:
        parts = urlsplit(raw)
        pairs = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=32, errors="strict")
        path = unquote(parts.path, errors="strict")
    except ValueError:
        raise HttpError(400, "bad_request", "the request target cannot be read") from None
    if not path.startswith("/") or "\0" in path:
        raise HttpError(400, "bad_request", "the request target is not a path")
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise HttpError(400, "bad_request", "a parameter is given twice")
    return Target(path=path, parameters=parameters)


def json_reply(value: object, status: int = 200) -> Reply:
    return Reply(body=orjson.dumps(value), status=status)


def error_reply(error: HttpError) -> Reply:
    reply = json_reply({"error": {"code": error.code, "message": error.message}}, error.status)
    return replace(reply, headers=_ERROR_HEADERS.get(error.status, {}))


def as_response(reply: Reply, *, head: bool, accepts_gzip: bool) -> Response:
    """Return the library's response; a HEAD gets the headers of the GET and no body."""
    body, headers = reply.body, {"Cache-Control": "no-store", **SAFETY_HEADERS, **reply.headers}
    if accepts_gzip and len(body) >= _COMPRESS_FROM_BYTES and _COMPRESSIBLE.match(reply.content_type):
        # Level 1: most of the gain at a fraction of the time.
        body = gzip.compress(body, compresslevel=1)
        headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    fixed = {
        "Date": email.utils.formatdate(usegmt=True),
        "Connection": "close",
        "Content-Type": reply.content_type,
        "Content-Length": str(len(body)),
    }
    phrase = HTTPStatus(reply.status).phrase
    return Response(reply.status, phrase, Headers({**fixed, **headers}), b"" if head else body)


class Bundle:
    """The dashboard's files. State: each file asked for, until it changes on disk."""

    def __init__(self, directory: Path | None) -> None:
        self._root = None if directory is None else directory.resolve()
        self._cache: dict[Path, tuple[int, bytes]] = {}

    def reply(self, path: str) -> Reply:
        """Return the file of a path; the front page for `/`.

        Raises: HttpError 404 if there is no such file in the bundle.
        """
        if path in ("/", "/index.html"):
            return self._front_page()
        found = self._find(path)
        if found is None:
            raise HttpError(404, "not_found", f"nothing is at {path[:200]}")
        content_type = _TYPES.get(found.suffix.lower()) or mimetypes.guess_type(found.name)[0]
        return Reply(
            body=self._read(found),
            content_type=content_type or "application/octet-stream",
            headers={"Cache-Control": _FOR_EVER if _HASHED.search(path) else "no-cache"},
        )

    def _front_page(self) -> Reply:
        found = self._find("/index.html")
        headers = {"Cache-Control": "no-cache", "Content-Security-Policy": _PAGE_POLICY}
        if found is None:
            return Reply(body=_NO_BUNDLE, status=503, content_type=_HTML_TYPE, headers=headers)
        return Reply(body=self._read(found), content_type=_HTML_TYPE, headers=headers)

    def _find(self, path: str) -> Path | None:
        if self._root is None:
            return None
        # resolve() follows .. and symbolic links: what it gives is what would be opened.
        try:
            found = (self._root / path.lstrip("/")).resolve()
            return found if found.is_relative_to(self._root) and found.is_file() else None
        except OSError:  # such as a name too long
            return None

    def _read(self, found: Path) -> bytes:
        changed_ns = found.stat().st_mtime_ns
        cached = self._cache.get(found)
        if cached is None or cached[0] != changed_ns:
            cached = self._cache[found] = (changed_ns, found.read_bytes())
        return cached[1]


def same_host(origin: str, host: str) -> bool:
    """Tell whether a page of `origin` was served by this `Host`."""
    try:
        netloc = urlsplit(origin).netloc
    except ValueError:  # such as a broken IPv6 address
        return False
    return bool(netloc) and netloc.lower() == host.lower()


def host_name(host: str) -> str:
    """Return a Host header without its port, IPv6 without brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
