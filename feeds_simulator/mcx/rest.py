"""Kite's REST interface without I/O: quotes, the dump, limits and refusals.

Source: kite.trade/docs/connect/v3 (market-quotes, exceptions), read 2026-07.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

from feeds_simulator.mcx import angel, kite
from feeds_simulator.mcx.board import Board, Contract
from feeds_simulator.mcx.venue import Counters

URL_MAX: Final = 8_000  # characters; the docs name none, users met it at about 825 symbols
SCRIP_MASTER: Final = "/OpenAPI_File/files/OpenAPIScripMaster.json"

_QUOTES: Final[Mapping[str, tuple[int, Callable[[Contract], dict[str, Any]]]]] = {
    "/quote": (500, kite.full_quote),
    "/quote/ohlc": (1_000, kite.ohlc_quote),
    "/quote/ltp": (1_000, kite.ltp_quote),
}


class Answer(NamedTuple):
    status: HTTPStatus
    body: bytes
    content_type: str = "application/json"
    gzipped: bool = False


class Rest:
    """Answer GET requests. `interval_s` between two quote requests of a key."""

    def __init__(self, board: Board, api_key: str, access_token: str, interval_s: float, counters: Counters) -> None:
        self._board, self._interval_s, self._counters = board, interval_s, counters
        self._authorization = f"token {api_key}:{access_token}"
        self._by_name = {f"MCX:{contract.symbol}": contract for contract in board.contracts}
        self._asked_s: float | None = None

    def get(self, target: str, headers: Mapping[str, str], at_s: float) -> Answer | None:
        """Return the answer to a request; None if the path is none of REST."""
        url = urlsplit(target)
        if url.path == SCRIP_MASTER:
            return Answer(HTTPStatus.OK, angel.scrip_master(self._board.contracts))
        if url.path not in _QUOTES and url.path not in ("/instruments", "/instruments/MCX"):
            return None
        if headers.get("Authorization") != self._authorization:
            return _refuse(HTTPStatus.FORBIDDEN, "TokenException", "Incorrect `api_key` or `access_token`.")
        if url.path not in _QUOTES:
            return Answer(HTTPStatus.OK, kite.instruments_csv(self._board.contracts), "text/csv", gzipped=True)
        if len(target) > URL_MAX:
            return _refuse(HTTPStatus.REQUEST_URI_TOO_LONG, "InputException", "URL too long")
        return self._quotes(url.path, parse_qs(url.query).get("i", []), at_s)

    def _quotes(self, path: str, names: list[str], at_s: float) -> Answer:
        self._counters.quotes_asked += 1
        if self._asked_s is not None and at_s - self._asked_s < self._interval_s:
            return _refuse(HTTPStatus.TOO_MANY_REQUESTS, "NetworkException", "Too many requests")
        self._asked_s = at_s
        most, quote = _QUOTES[path]
        if not names or len(names) > most:
            return _refuse(
                HTTPStatus.BAD_REQUEST, "InputException", f"{len(names)} instruments; 1 to {most} can be asked"
            )
        # What is not known, or has no data, is left out: its key is missing.
        found = {name: self._by_name[name] for name in names if name in self._by_name}
        return Answer(
            HTTPStatus.OK,
            kite.success({name: quote(contract) for name, contract in found.items() if contract.state.stamped_ns}),
        )


def _refuse(status: HTTPStatus, error_type: str, words: str) -> Answer:
    return Answer(status, kite.failure(error_type, words))
