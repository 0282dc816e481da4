"""An unmodified KiteTicker in a process of its own (its reactor cannot be started twice).

    python tests/connectors/mcx/kite_client.py ROOT API_KEY ACCESS_TOKEN TICKS TOKEN [TOKEN ...]

Prints a JSON line for each tick of the library, then one of the errors and texts it was given.
"""

import json
import sys
from datetime import datetime
from typing import Any

from kiteconnect import KiteTicker


def main(root: str, api_key: str, access_token: str, ticks: str, *tokens: str) -> None:
    wanted = int(ticks)
    seen: list[dict[str, Any]] = []
    said: list[str] = []
    ticker = KiteTicker(api_key, access_token, root=root, reconnect=False)

    def on_connect(ws: Any, _response: Any) -> None:
        ws.subscribe([int(token) for token in tokens])
        ws.set_mode(ws.MODE_FULL, [int(token) for token in tokens])
        out({"connected": True})

    def on_ticks(ws: Any, some: list[dict[str, Any]]) -> None:
        for tick in some:
            seen.append(tick)
            out(tick)
        if len(seen) >= wanted:
            ws.close(1000, "enough")

    def on_error(_ws: Any, code: int, reason: str) -> None:
        said.append(f"error {code} {reason}")

    def on_message(_ws: Any, payload: bytes, is_binary: bool) -> None:
        if not is_binary:
            said.append(payload.decode())

    def on_close(ws: Any, _code: int, _reason: str) -> None:
        out({"said": said})
        ws.stop()

    ticker.on_connect, ticker.on_ticks, ticker.on_close = on_connect, on_ticks, on_close
    ticker.on_error, ticker.on_message = on_error, on_message
    ticker.connect()


def out(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line, default=_plain) + "\n")
    sys.stdout.flush()


def _plain(value: object) -> object:
    # The library makes local times without a zone.
    return round(value.timestamp()) if isinstance(value, datetime) else str(value)


if __name__ == "__main__":
    main(*sys.argv[1:])
