"""What REST answers from memory: the instruments seen and their last trade, quote and status."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Final

import orjson

from gateway.auth import Grant
from gateway.hub import Hub
from gateway.protocol import Matcher
from gateway.rows import Row
from market.instruments import BadInstrumentKey, Contract, InstrumentMaster

_LAST: Final = {"trades": "last_trade", "quotes": "last_quote", "status": "last_status"}


class LiveState:
    """A view of the hub's images; works while the store is down."""

    def __init__(self, hub: Hub, now: Callable[[], int]) -> None:
        self._hub, self._now = hub, now
        self._master = InstrumentMaster.load()

    def instruments(self, grant: Grant) -> bytes:
        """Return every instrument seen that is granted, by key, with its contract and its newest rows."""
        newest: dict[str, dict[str, Row]] = {}
        for stream in self._hub.streams:
            key = stream.key
            granted = grant.sees(key.instrument) and grant.has_channel(key.channel) and grant.owns(key.user)
            if stream.image is not None and granted and not key.instrument.endswith(":*"):
                newest.setdefault(stream.key.instrument, {})[stream.key.channel] = stream.image
        on = datetime.fromtimestamp(self._now() // 10**9, UTC).date()
        rows = [
            self._contract_members(key, on_date=on)
            | {name: _fragment(images.get(channel)) for channel, name in _LAST.items()}
            for key, images in sorted(newest.items())
        ]
        return orjson.dumps(rows)

    def statuses(self, pattern: str, grant: Grant) -> bytes:
        """Return the newest status of every granted instrument and venue that `pattern` covers."""
        matcher = Matcher([pattern])
        rows = [
            orjson.Fragment(stream.image.data)
            for key, stream in sorted((stream.key, stream) for stream in self._hub.streams)
            if key.channel == "status" and stream.image is not None
            if matcher.covers(key.instrument) and grant.sees(key.instrument)
        ]
        return orjson.dumps(rows)

    def _contract_members(self, key: str, on_date: date) -> dict[str, object]:
        try:
            contract = self._master.resolve(key, on_date)
        except BadInstrumentKey:
            mic, _, root = key.partition(":")
            contract = Contract(mic=mic, root=root, commodity="")
        return {
            "instrument": key,
            "venue": contract.mic,
            "root": contract.root,
            "commodity": contract.commodity,
            "name": contract.name,
            "currency": contract.currency,
            "quote_unit": contract.quote_unit,
            "tick_size": _decimal(contract.tick_size),
            "contract_size": _decimal(contract.contract_size),
            "size_unit": contract.size_unit,
            "time_zone": contract.hours.timezone if contract.known else None,
        }


def _decimal(value: object) -> orjson.Fragment | None:
    return None if value is None else orjson.Fragment(f"{value:f}".encode())


def _fragment(row: Row | None) -> orjson.Fragment | None:
    return None if row is None else orjson.Fragment(row.data)
