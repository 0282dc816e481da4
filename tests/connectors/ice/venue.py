"""A venue in memory, written from docs/ice-profile.md. It stands for the venue's session server: sequence per
channel, images, replay with and without `image`, refusal. It checks no signature and knows one key; what it does
not model (entitlement, pacing, sockets) is tested elsewhere.
"""

from typing import Any

import orjson

T0 = 1_795_000_000_000_000_000
Change = list[Any]


class Client:
    """One session on the venue's side."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.channels: dict[str, list[dict[str, Any]]] = {"trades": [], "book": [], "status": []}
        self.subscribed: set[str] = set()


class FakeVenue:
    def __init__(self, symbols: tuple[str, ...], *, window: int = 200_000, resumable: bool = True) -> None:
        self.symbols = symbols
        self.window = window
        self.resumable = resumable
        self.sessions: dict[str, Client] = {}
        self.client: Client | None = None
        self.clock = T0
        self.trade_count = 0
        # the books before any change; changes are folded on top of it per session
        self.base = {symbol: {"B": {7900: 5}, "S": {8100: 5}} for symbol in symbols}
        self.now = {symbol: {side: dict(levels) for side, levels in self.base[symbol].items()} for symbol in symbols}
        self.requests: list[dict[str, Any]] = []

    # ---- requests

    def answer(self, raw: bytes) -> list[bytes]:
        request = orjson.loads(raw)
        self.requests.append(request)
        handler = getattr(self, "_" + request["op"])
        return [orjson.dumps(reply) for reply in handler(request)]

    def _auth(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        old = self.sessions.get(request.get("session", ""))
        resumed = old is not None and self.resumable
        if not resumed:
            self.client = Client(f"S{len(self.sessions) + 1}")
            self.sessions[self.client.session] = self.client
            self.base = {s: {side: dict(levels) for side, levels in self.now[s].items()} for s in self.symbols}
        else:
            self.client = old
        assert self.client is not None
        channels = {
            name: {"seq": len(log), "replay_from": max(1, len(log) - self.window + 1)}
            for name, log in self.client.channels.items()
        }
        reply = {"op": "auth_ok", "session": self.client.session, "resumed": resumed, "channels": channels}
        return [reply | {"ts": self.clock}]

    def _subscribe(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        assert self.client is not None
        name = request["channel"]
        self.client.subscribed.add(name)
        log = self.client.channels[name]
        reply = {"op": "subscribed", "id": request["id"], "channel": name, "symbols": list(self.symbols)}
        replies = [reply | {"seq": len(log)}]
        if name == "book":
            replies += [self._image(symbol, len(log)) for symbol in self.symbols]
        if name == "status":
            for symbol in self.symbols:
                status = {"op": "status", "seq": len(log) + 1, "symbol": symbol, "state": "OPEN"}
                log.append(status | {"ts_event": self.clock, "ts_send": self.clock})
                replies.append(log[-1])
        return replies

    def _snapshot(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        assert self.client is not None
        return [self._image(request["symbol"], len(self.client.channels["book"]))]

    def _replay(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        assert self.client is not None
        log, first, last = self.client.channels[request["channel"]], request["from"], request["to"]
        if not max(1, len(log) - self.window + 1) <= first <= last <= len(log):
            return [{"op": "error", "code": "replay_refused", "msg": "not kept", "id": request["id"]}]
        images = [self._image(symbol, first - 1) for symbol in self.symbols] if request.get("image") else []
        done = {"op": "replay_done", "id": request["id"], "channel": request["channel"], "from": first, "to": last}
        return [*images, *(message | {"replayed": True} for message in log[first - 1 : last]), done]

    def _image(self, symbol: str, at: int) -> dict[str, Any]:
        assert self.client is not None
        levels = {side: dict(of_side) for side, of_side in self.base[symbol].items()}
        seq, ts = 0, T0
        for message in self.client.channels["book"][:at]:
            if message["symbol"] == symbol:
                seq, ts = message["seq"], message["ts_event"]
                fold(levels, message["changes"])
        return {
            "op": "snapshot",
            "channel": "book",
            "symbol": symbol,
            "seq": seq,
            "last_seq": at,
            "bids": [[f"{px / 100}", qty, 1] for px, qty in sorted(levels["B"].items(), reverse=True)],
            "asks": [[f"{px / 100}", qty, 1] for px, qty in sorted(levels["S"].items())],
            "state": "OPEN",
            "ts_event": ts,
            "ts_send": self.clock,
        }

    # ---- the market

    def trade(self, symbol: str, price: int, quantity: int) -> list[bytes]:
        self.trade_count += 1
        fields = {"px": f"{price / 100}", "qty": quantity, "aggr": "B", "cond": "", "trade_id": f"T{self.trade_count}"}
        return self.publish("trades", {"op": "trade", "symbol": symbol} | fields)

    def change(self, symbol: str, side: str, price: int, quantity: int, *, eot: bool = True) -> list[bytes]:
        """Set a level; quantity 0 deletes it, or does nothing where there is none."""
        levels = self.now[symbol][side]
        if quantity == 0 and (price not in levels or len(levels) == 1):
            return []
        if quantity and price not in levels and len(levels) >= 5:
            return []
        action = "D" if quantity == 0 else "C" if price in levels else "N"
        changes = [[side, action, f"{price / 100}", quantity, 1]]
        fold(self.now[symbol], changes)
        assert self.client is not None
        previous = [m["seq"] for m in self.client.channels["book"] if m["symbol"] == symbol]
        fields = {"prev_seq": previous[-1] if previous else 0, "changes": changes, "eot": eot}
        return self.publish("book", {"op": "book", "symbol": symbol} | fields)

    def publish(self, channel: str, message: dict[str, Any]) -> list[bytes]:
        assert self.client is not None
        self.clock += 1_000_000
        log = self.client.channels[channel]
        log.append(message | {"seq": len(log) + 1, "ts_event": self.clock, "ts_send": self.clock})
        return [orjson.dumps(log[-1])]

    def heartbeats(self) -> list[bytes]:
        assert self.client is not None
        beats = [
            {"op": "heartbeat", "channel": name, "seq": len(self.client.channels[name]), "ts": self.clock}
            for name in sorted(self.client.subscribed)
        ]
        return [orjson.dumps(beat) for beat in beats]


def fold(levels: dict[str, dict[int, int]], changes: list[Change]) -> None:
    for side, action, text, quantity, _ in changes:
        price = round(float(text) * 100)
        if action == "D":
            del levels[side][price]
        else:
            levels[side][price] = quantity
