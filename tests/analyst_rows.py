"""A week of a small, made-up market for the tests of docs/analytics.md: five days, four futures, one currency pair.

All rows follow from a seed. Bars are folded here in the plainest way, from the trades.
"""

import random
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

DAY_NS: Final = 86_400 * 10**9
MINUTE_NS: Final = 60 * 10**9
MONDAY_NS: Final = 1_763_337_600 * 10**9 + 364 * DAY_NS  # 2026-11-16
DAYS: Final = 5
OPEN_NS: Final = 9 * 3_600 * 10**9
SESSION_NS: Final = 6 * 3_600 * 10**9
QUOTE_EVERY_NS: Final = 40 * 10**9
SCALE: Final = 10**9

# instrument -> first price, tick (both 1e-9), trades in a session
MARKET: Final = {
    "XCEC:GC:202612": (4150 * SCALE, SCALE // 10, 360),
    "XCEC:GC:202702": (4175 * SCALE, SCALE // 10, 90),
    "XIMC:GOLD:202612": (149_000 * SCALE, SCALE, 240),
    "XNYM:CL:202612": (61 * SCALE, SCALE // 100, 300),
    "BBG:USDINR:SPOT": (96 * SCALE, SCALE // 400, 0),
}
BARS: Final = {"1m": MINUTE_NS, "1h": 60 * MINUTE_NS, "1d": DAY_NS}

Row = dict[str, Any]


def quotes() -> list[Row]:
    return [quote for instrument in MARKET for quote in _quotes(instrument)]


def _quotes(instrument: str) -> Iterator[Row]:
    chance = random.Random(instrument)
    price, tick, _ = MARKET[instrument]
    for day in range(DAYS):
        price += tick * chance.randrange(-40, 60)  # overnight
        for step in range(SESSION_NS // QUOTE_EVERY_NS):
            price += tick * chance.choice((-2, -1, 0, 0, 1, 2))
            ts_event = (
                MONDAY_NS + day * DAY_NS + OPEN_NS + step * QUOTE_EVERY_NS + chance.randrange(QUOTE_EVERY_NS // 2)
            )
            # Wider in the first hour; crossed once in a thousand.
            wide = chance.choice((1, 1, 2, 3)) + (2 if step < 90 else 0) if chance.random() > 0.001 else -1
            yield {
                **_where(instrument, ts_event, day * 10_000 + step),
                "bid_price": price,
                "bid_size": chance.randrange(1, 40) * SCALE,
                "ask_price": price + wide * tick if chance.random() > 0.01 else None,
                "ask_size": chance.randrange(1, 40) * SCALE,
                "flags": 0,
            }


def trades() -> list[Row]:
    """Trades at the touch of the quote before them; one in 200 was busted, one in 200 corrected by a tick."""
    found: list[Row] = []
    for instrument, (_, tick, count) in MARKET.items():
        if not count:
            continue
        chance = random.Random(f"trades of {instrument}")
        standing = [quote for quote in _quotes(instrument) if quote["ask_price"] is not None]
        for number in range(count * DAYS):
            quote = standing[number * len(standing) // (count * DAYS)]
            side = chance.choice((1, -1))
            trade = {
                **_where(instrument, quote["ts_event"] + chance.randrange(1, SCALE), number * 10),
                "trade_id": f"{instrument[5:]}/{number}",
                "price": quote["ask_price"] if side == 1 else quote["bid_price"],
                "size": chance.choice((1, 1, 1, 2, 5, 10, 40)) * SCALE,
                "side": side,
                "flags": 0,
            }
            found.append(trade)
            said = trade | {"ts_event": trade["ts_event"] + SCALE, "seq": number * 10 + 1}
            if number % 200 == 50:
                found.append(said | {"price": None, "size": None, "side": None, "flags": 8})
            if number % 200 == 150:
                found.append(said | {"price": trade["price"] + tick, "flags": 16})
    return found


def net(rows: Sequence[Row]) -> list[Row]:
    """What `trades_net` is to give, by the plainest way."""
    said = {(row["instrument"], row["trade_id"]): row for row in rows if row["flags"]}
    found = []
    for row in rows:
        word = said.get((row["instrument"], row["trade_id"]))
        if row["flags"] or (word is not None and word["flags"] == 8):
            continue
        found.append(row if word is None else row | {"price": word["price"], "flags": 16})
    return found


def bars() -> list[Row]:
    windows: dict[tuple[str, str, int], list[Row]] = {}
    for trade in sorted(net(trades()), key=lambda row: (row["ts_event"], row["seq"])):
        for interval, width_ns in BARS.items():
            key = (trade["instrument"], interval, trade["ts_event"] // width_ns * width_ns)
            windows.setdefault(key, []).append(trade)
    return [_bar(*key, rows) for key, rows in windows.items()]


def _bar(instrument: str, interval: str, ts_open: int, rows: list[Row]) -> Row:
    prices = [row["price"] for row in rows]
    volume = sum(row["size"] for row in rows)
    return {
        "venue": instrument[:4].rstrip(":"),
        "instrument": instrument,
        "interval": interval,
        "ts_open": ts_open,
        "ts_close": ts_open + BARS[interval],
        "revision": 0,
        "final": True,
        "open": prices[0],
        "high": max(prices),
        "low": min(prices),
        "close": prices[-1],
        "volume": Decimal(volume).scaleb(-9),
        "vwap": round(Decimal(sum(row["price"] * row["size"] for row in rows)) / volume),
        "trades": len(rows),
        "quality": "LIVE",
        "as_known_at": ts_open + BARS[interval],
    }


def books() -> list[Row]:
    """A snapshot at every tenth quote of the two golds: ten levels, a tick apart."""
    found = []
    for instrument in ("XCEC:GC:202612", "XIMC:GOLD:202612"):
        chance, tick = random.Random(f"books of {instrument}"), MARKET[instrument][1]
        for quote in list(_quotes(instrument))[::10]:
            bids = [chance.randrange(1, 60) * SCALE for _ in range(10)]
            asks = [chance.randrange(1, 60) * SCALE for _ in range(10)]
            middle = quote["bid_price"] + tick // 2
            row = {name: quote[name] for name in ("venue", "instrument", "ts_event", "ts_recv", "seq")}
            row |= {"state": "NORMAL", "quality": "LIVE", "mid_price": middle, "micro_price": middle}
            row["imbalance"] = SCALE * (sum(bids) - sum(asks)) // (sum(bids) + sum(asks))
            for level in range(10):
                row |= {f"bid_{level + 1}_price": quote["bid_price"] - level * tick}
                row |= {f"bid_{level + 1}_size": bids[level]}
                row |= {f"ask_{level + 1}_price": quote["bid_price"] + (level + 1) * tick}
                row |= {f"ask_{level + 1}_size": asks[level]}
            found.append(row)
    return found


def arbitrage() -> list[Row]:
    """One opportunity a day: opens, is renewed, closes; its net falls as it goes."""
    legs = {"commodity": "gold", "direction": "buy_foreign", "currency": "INR", "unit": "10g", "assumed": ""}
    legs |= {"buy_instrument": "XCEC:GC:202612", "sell_instrument": "XIMC:GOLD:202612"}
    found = []
    for day in range(DAYS):
        for step, state in enumerate(("open", "update", "close")):
            ts_event = MONDAY_NS + day * DAY_NS + OPEN_NS + 3_600 * SCALE + step * (day + 1) * 10 * SCALE
            row = {"opportunity_id": f"gold/{day}", "ts_event": ts_event, "state": state, "reason": ""}
            amount = {"gross": (900 - 100 * step) * SCALE, "net": (300 - 100 * step + day) * SCALE, "size": 3 * SCALE}
            found.append(legs | row | amount | {"net_inr": (90_000 - 30_000 * step) * SCALE})
    return found


def anomalies() -> list[Row]:
    kinds = ("spike", "spike", "volume", "spread")
    return [
        {
            "anomaly_id": f"XCEC:GC:202612/{kind}/{number}",
            "venue": "XCEC",
            "instrument": "XCEC:GC:202612",
            "ts_event": MONDAY_NS + number * DAY_NS + OPEN_NS,
            "ts_end": MONDAY_NS + number * DAY_NS + OPEN_NS + (number + 1) * SCALE,
            "kind": kind,
            "severity": "high" if number % 2 else "low",
            "score": (number + 2) * SCALE,
            "witness": "none",
            "detail": "{}",
            "as_known_at": MONDAY_NS + number * DAY_NS + OPEN_NS + SCALE,
        }
        for number, kind in enumerate(kinds)
    ]


def trade_events() -> list[Row]:
    """Every twentieth trade of the front gold was the desk's, bought a tick above the market."""
    ours = [row for row in trades() if row["instrument"] == "XCEC:GC:202612" and row["flags"] == 0][::20]
    return [
        {
            "event_id": f"event/{number}",
            "event_type": "matched",
            "trade_id": f"desk/{number}",
            "user_id": f"trader{number % 2}",
            "instrument": row["instrument"],
            "side": 1,
            "quantity": row["size"],
            "price": row["price"] + SCALE // 10,
            "ts_event": row["ts_event"],
            "ts_recv": row["ts_event"] + SCALE,
        }
        for number, row in enumerate(ours)
    ]


def ledger() -> dict[str, list[Row]]:
    """What was not straight through: one late trade and one refused row a day, one gap."""
    source = {"source": "market.prices.gold/0", "source_row": 0}
    times = [MONDAY_NS + day * DAY_NS + OPEN_NS for day in range(DAYS)]
    late = [
        _where("XCEC:GC:202612", ts, 7)
        | {"kind": 0, "price": SCALE, "size": SCALE, "side": 1, "trade_id": None, "flags": 0}
        | {"watermark": ts + 90 * SCALE, "source_offset": number, **source}
        for number, ts in enumerate(times)
    ]
    refused = [
        {"venue": "XIMC", "instrument": "XIMC:GOLD:202612", "ts_recv": ts, "reason": "off_tick", "detail": "149000.5"}
        | {"raw": "", "source_offset": number, **source}
        for number, ts in enumerate(times)
    ]
    gap = {
        "gap_id": "XCEC/1/2",
        "venue": "XCEC",
        "channel": "trades",
        "seq_from": 2,
        "seq_to": 9,
        "ts_detected": times[0],
    }
    gap |= {"ts_resolved": times[0] + 2 * SCALE, "resolution": "replay", "recovered_rows": 8, "reason": "missing"}
    return {"late": late, "rejected": refused, "gaps": [gap]}


def week() -> dict[str, list[Row]]:
    """All rows, by table."""
    return {
        "trades": trades(),
        "quotes": quotes(),
        "bars": bars(),
        "books": books(),
        "arbitrage": arbitrage(),
        "anomalies": anomalies(),
        "trade_events": trade_events(),
        **ledger(),
    }


def _where(instrument: str, ts_event: int, seq: int) -> Row:
    row = {"venue": instrument[:4].rstrip(":"), "instrument": instrument, "ts_event": ts_event}
    return row | {"ts_recv": ts_event + 3_000_000 + seq % 1_000, "seq": seq}
