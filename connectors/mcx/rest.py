"""A broker's REST interface: GET, in a thread of its own, with errors that say what the broker said."""

import asyncio
import gzip
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Final

from connectors.daemon import in_daemon_thread
from connectors.errors import RestRefused
from connectors.mcx.quotes import read_refusal

_MOST_BYTES: Final = 256 << 20  # the dump of all exchanges is about 10 MB
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Rest:
    """Ask a broker. The headers, which hold the credentials, are asked before each request."""

    def __init__(self, base_url: str, headers: Callable[[], Mapping[str, str]], timeout_s: float) -> None:
        self._base_url, self._headers, self._timeout_s = base_url.rstrip("/"), headers, timeout_s

    async def get(self, path: str) -> bytes:
        """Return the body. Raises: RestRefused."""
        return await asyncio.wrap_future(in_daemon_thread(lambda: self._get(path), "mcx-rest"))

    def _get(self, path: str) -> bytes:
        request = urllib.request.Request(self._base_url + path, headers=dict(self._headers()))
        try:
            with _OPENER.open(request, timeout=self._timeout_s) as answer:
                body: bytes = answer.read(_MOST_BYTES)
        except urllib.error.HTTPError as refused:
            with refused:
                raise read_refusal(refused.code, refused.read(4_096)) from None
        except (OSError, HTTPException) as error:
            raise RestRefused(0, "unreachable", str(error) or type(error).__name__) from error
        return _plain(body)


def _plain(body: bytes) -> bytes:
    # The dump is gzipped whether or not the header says so.
    if body[:2] != b"\x1f\x8b":
        return body
    try:
        return gzip.decompress(body)
    except (OSError, EOFError, zlib.error) as error:
        raise RestRefused(200, "DataException", f"bad gzip: {error}") from error
