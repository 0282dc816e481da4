"""Hypothesis: markets small enough to shrink, nasty enough to break a kernel."""

from hypothesis import strategies as st
from reference import SECOND, Row

T0 = 1_700_000_000 * SECOND
VENUES = {"XCEC": ["XCEC:GC:202612", "XCEC:GC:202702"], "XIMC": ["XIMC:GOLD:202612"]}
PLACES = [(venue, instrument) for venue, instruments in VENUES.items() for instrument in instruments]
AMENDMENTS = ("bust", "correction")
KINDS = st.sampled_from(["trade", "trade", "trade", "trade", "quote", "clock", "state", *AMENDMENTS])
PRICES = st.integers(-(10**18) + 1, 10**18 - 1) | st.integers(1_000 * SECOND, 1_100 * SECOND) | st.just(SECOND)


@st.composite
def rows(draw: st.DrawFn, *, received: bool | None = None, numbered: bool = False, max_size: int = 40) -> list[Row]:
    """Trades, busts, corrections, quotes, states and clock rows of two venues, out of order.

    With leaps, ties and future stamps.

    `numbered`: each row has a seq of its own; else many have the same, or none.
    """
    has_recv = draw(st.booleans()) if received is None else received
    now = dict.fromkeys(VENUES, T0)
    numbers = draw(st.permutations(range(max_size)))
    places = draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=max_size))
    kinds = draw(st.lists(KINDS, min_size=len(places), max_size=len(places)))
    found = []
    for name, ((venue, instrument), kind) in enumerate(zip(places, kinds, strict=True)):
        trade_id = f"T{name}" if kind == "trade" else None
        if kind in AMENDMENTS:
            # Of a trade nearby, before or after it, which may be none at all.
            about = draw(st.integers(max(0, name - 9), min(len(places) - 1, name + 3)))
            (venue, instrument), trade_id = places[about], f"T{about}"
        now[venue] += draw(st.sampled_from([0, 1, SECOND // 3, SECOND, 7 * SECOND, 90 * SECOND, 3600 * SECOND]))
        back = draw(st.sampled_from([0, 0, 0, 1, SECOND, 30 * SECOND, 61 * SECOND, 62 * SECOND, 4000 * SECOND]))
        ahead = draw(st.sampled_from([0, 0, 0, 0, 0, 301 * SECOND, 365 * 86400 * SECOND]))
        ts = now[venue] - back + ahead
        recv = now[venue] + 1_000_000 if has_recv else None
        price = draw(PRICES)
        size = draw(st.integers(1, 10**18 - 1) | st.sampled_from([SECOND, 2 * SECOND, 500]))
        seq = numbers[name] if numbered else draw(st.sampled_from([None, None, 0, 1, 2, 3]))
        named = None if kind == "clock" else instrument
        if kind == "state":
            named, size = draw(st.sampled_from([None, instrument])), draw(st.integers(0, 6))
        found.append(Row(kind, venue, named, ts, recv, price, size, name, seq, trade_id))
    return found
