"""What the stream must say of a scenario, held against the simulator's own record of what it did.

A check is given the acts (rows of `truth/acts.jsonl`) and the rows heard on the stream; it raises AssertionError with
what is missing. Rows come in order; times are ns of market time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Row = dict[str, Any]

S: Final = 1_000_000_000
USDINR: Final = "BBG:USDINR:SPOT"
LEARNT_S: Final = 45
"""What comes sooner after the first row may meet detectors, or a level of the basis, that know nothing yet."""

LATE_S: Final = 15
"""How long a busy machine may take to say what holds from a moment on, by ts_event."""

_TALKS: Final = frozenset({"open", "update", "watch"})


@dataclass(slots=True)
class Heard:
    """Rows by channel, and what the stream said of instruments and venues."""

    anomalies: list[Row] = field(default_factory=list)
    arbitrage: list[Row] = field(default_factory=list)
    status: list[Row] = field(default_factory=list)
    alerts: set[tuple[str, str]] = field(default_factory=set)  # name and venue of those that fired
    until: int = 0  # up to when we have listened: what was not said by then was not said

    def take(self, message: Row) -> None:
        if message.get("op") not in ("snapshot", "update") or message.get("channel") not in (
            "anomalies",
            "arbitrage",
            "status",
        ):
            return
        rows, row = getattr(self, message["channel"]), message["data"]
        if message["channel"] == "status" and row["instrument"] is None:
            row = row | {"instrument": f"{row['venue']}:*"}  # of the whole venue
        if row not in rows[-1:]:  # an image of seq 0 holds the row that follows
            rows.append(row)

    def anomalies_of(self, product: str, kind: str, begin: int, end: int) -> list[Row]:
        return [
            row
            for row in self.anomalies
            if row["instrument"].startswith(product) and row["kind"] == kind and begin <= int(row["ts_event"]) <= end
        ]

    def pairs(self) -> set[tuple[str, str]]:
        return {_pair(row) for row in self.arbitrage}

    def of_pair(self, pair: tuple[str, str], begin: int, end: int, states: frozenset[str]) -> list[Row]:
        return [
            row
            for row in self.arbitrage
            if _pair(row) == pair and row["state"] in states and begin <= int(row["ts_event"]) < end
        ]


def _pair(row: Row) -> tuple[str, str]:
    """The Indian contract and the foreign one."""
    legs = row["buy_instrument"], row["sell_instrument"]
    return legs if row["direction"] == "buy_local" else legs[::-1]


def _spans(acts: Sequence[Row], what: str) -> list[tuple[str | None, int, int]]:
    """Instrument, begin and end of every act of a scenario."""
    end = 2**62
    return [
        (act["instrument"], int(act["from"]), end if act["to"] is None else int(act["to"]))
        for act in acts
        if act["what"] == what
    ]


def _silenced(heard: Heard, pair: tuple[str, str], begin: int, end: int, word: str) -> None:
    """A pair gave this reason, and then said nothing more of prices until the end, or until where we have listened."""
    said = heard.of_pair(pair, begin - S, begin + LATE_S * S, frozenset({"silent"}))
    assert any(word in row["reason"] for row in said), f"{pair} did not fall silent for {word}: {said}"
    talk = heard.of_pair(pair, begin + LATE_S * S, min(end, heard.until), _TALKS)
    assert not talk, f"{pair} talks although {word}: {talk[0]}"


def check_spike(acts: Sequence[Row], heard: Heard) -> None:
    """One venue's price is up for seconds: an anomaly there, a bad tick by what other venues say, and nowhere else."""
    learnt = min(int(row["ts_event"]) for row in heard.arbitrage) + LEARNT_S * S
    spans = [span for span in _spans(acts, "spike") if span[1] >= learnt]
    assert spans, "no spike came after the detectors had learnt"
    begin, end = spans[0][1:]
    products = {str(instrument).rpartition(":")[0] for instrument, at, _ in spans if at == begin}
    for product in products:
        found = heard.anomalies_of(product, "return_spike", begin - S, end + 2 * S)
        assert any(row["witness"] == "bad_tick" for row in found), f"no bad tick of {product}: {found}"
        assert any(row["ts_end"] is not None for row in found), f"the anomaly of {product} has no end"
    for commodity, other in (("GOLD", "XCEC:GC"), ("CT", "XIMC:COTTONCNDY"), ("B", "XNYM:CL")):
        assert any(product.endswith(commodity) for product in products)
        strong = [row for row in heard.anomalies_of(other, "return_spike", begin - S, end) if row["severity"] == "high"]
        assert not strong, f"{other} was not struck: {strong}"


def check_fx_freeze(acts: Sequence[Row], heard: Heard) -> None:
    """USDINR stands still: every pair is silent for that reason for as long, and the rate itself is an anomaly."""
    instrument, begin, end = _spans(acts, "fx_freeze")[0]
    assert instrument == USDINR
    assert heard.until > begin + 2 * LATE_S * S, "not yet"
    for pair in heard.pairs():
        _silenced(heard, pair, begin, end, "USDINR")
    assert heard.anomalies_of(USDINR, "stale_feed", begin - S, begin + 2 * LATE_S * S), (
        "nobody saw the rate stand still"
    )


def check_clock_skew(acts: Sequence[Row], heard: Heard) -> None:
    """MCX's clock is 5.5 hours ahead, ICE's three minutes: both are DELAYED and say why, and no pair is compared."""
    _, begin, end = _spans([act for act in acts if act["venue"] == "mcx"], "clock_skew")[0]
    assert heard.until > begin + 3 * LATE_S * S, "not yet"
    for venue in ("XIMC:", "IFUS:", "IFEU:"):
        said = [row for row in heard.status if row["instrument"].startswith(venue) if row["quality"] == "DELAYED"]
        assert said, f"{venue} is not DELAYED"
        assert all(row["reason"].startswith("clock_skew") for row in said), said
    for pair in heard.pairs():
        talk = heard.of_pair(pair, begin + LATE_S * S, min(end, heard.until), _TALKS)
        assert not talk, f"{pair} is compared although MCX's clock is off: {talk[0]}"
    words = [row["reason"] for row in heard.arbitrage if row["state"] == "silent" and int(row["ts_event"]) >= begin]
    assert any("skew" in word for word in words), words
    assert {("MandiClockSkew", venue) for venue in ("XIMC", "IFUS", "IFEU")} <= heard.alerts, heard.alerts


def check_duty_step(acts: Sequence[Row], heard: Heard) -> None:
    """India's duty on bullion is cut: MCX falls alone, limit by limit: no arbitrage, and no move of the metal."""
    spans = _spans(acts, "duty_step")
    begin = spans[0][1]
    assert heard.until > begin + 3 * LATE_S * S, "not yet"
    bullion = {pair for pair in heard.pairs() if pair[0].split(":")[1] in ("GOLD", "GOLDM", "SILVER")}
    assert bullion
    for pair in bullion:
        said = heard.of_pair(pair, begin, heard.until, frozenset({"silent"}))
        # At its limit a market has one side; between two limits the basis is off its level.
        shocks = [row for row in said if row["reason"].startswith(("policy_shock", f"one_sided: {pair[0]}"))]
        assert shocks, f"{pair} was not shocked: {said}"
        shocked = int(shocks[0]["ts_event"])
        assert not heard.of_pair(pair, shocked + S, heard.until, _TALKS), f"{pair} talks after the shock"
    moved = [
        row
        for row in heard.anomalies
        if row["instrument"].startswith("XIMC:GOLD") and int(row["ts_event"]) >= begin - S  # MCX stamps whole seconds
    ]
    assert moved, "nothing odd about MCX gold"
    said = {row["witness"] for row in moved}
    assert "policy_step" in said, f"what else could it be: {said}"
    assert "real_move" not in said, "the metal did not move"
    for pair in heard.pairs() - bullion:
        assert heard.of_pair(pair, begin + 2 * LATE_S * S, heard.until, _TALKS), f"{pair} has nothing to do with it"


def check_venue_down(acts: Sequence[Row], heard: Heard) -> None:
    """COMEX, NYMEX and CBOT are away: their pairs are silent for that reason and come back; cotton goes on."""
    _, begin, end = _spans(acts, "venue_down")[0]
    assert heard.until > end + 2 * LATE_S * S, "not yet"
    down = {
        row["instrument"] for row in heard.status if row["quality"] == "STALE" and begin <= int(row["ts_event"]) < end
    }
    assert {"XCEC:*", "XNYM:*", "XCBT:*"} <= down, down
    for pair in heard.pairs():
        venue = pair[1].partition(":")[0]
        if venue in ("XCEC", "XNYM"):
            _silenced(heard, pair, begin, end, f"{venue}:")
            assert heard.of_pair(pair, end, heard.until, _TALKS), f"{pair} did not come back"
        else:
            assert heard.of_pair(pair, begin + LATE_S * S, end, _TALKS), f"{pair} has nothing to do with it"
    assert {("MandiFeedStale", venue) for venue in ("XCEC", "XNYM", "XCBT")} <= heard.alerts, heard.alerts


CHECKS: Final[dict[str, Callable[[Sequence[Row], Heard], None]]] = {
    "spike": check_spike,
    "fx_freeze": check_fx_freeze,
    "clock_skew": check_clock_skew,
    "duty_step": check_duty_step,
    "venue_down": check_venue_down,
}
