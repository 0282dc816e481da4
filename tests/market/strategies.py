"""Hypothesis: markets small enough to shrink, nasty enough to break a kernel."""

from hypothesis import strategies as st
from reference import SECOND, Row

T0 = 1_700_000_000 * SECOND
VENUES = {"XCEC": ["XCEC:GC:202612", "XCEC:GC:202702"], "XIMC": ["XIMC:GOLD:202612"]}


@st.composite
def rows(draw: st.DrawFn, *, received: bool | None = None, numbered: bool = False, max_size: int = 40) -> list[Row]:
    """Trades, quotes and clock rows of two venues, with disorder, leaps, ties and future stamps.

    `numbered`: each row has a seq of its own; else many have the same, or none.
    """
    has_recv = draw(st.booleans()) if received is None else received
    now = dict.fromkeys(VENUES, T0)
    numbers = draw(st.permutations(range(max_size)))
    found = []
    for name in range(draw(st.integers(1, max_size))):
        venue = draw(st.sampled_from(sorted(VENUES)))
        now[venue] += draw(st.sampled_from([0, 1, SECOND // 3, SECOND, 7 * SECOND, 90 * SECOND, 3600 * SECOND]))
        back = draw(st.sampled_from([0, 0, 0, 1, SECOND, 30 * SECOND, 61 * SECOND, 62 * SECOND, 4000 * SECOND]))
        ahead = draw(st.sampled_from([0, 0, 0, 0, 0, 301 * SECOND, 365 * 86400 * SECOND]))
        kind = draw(st.sampled_from(["trade", "trade", "trade", "quote", "clock"]))
        ts = now[venue] - back + ahead
        recv = now[venue] + 1_000_000 if has_recv else None
        instrument = None if kind == "clock" else draw(st.sampled_from(VENUES[venue]))
        price = draw(st.integers(-(10**18) + 1, 10**18 - 1) | st.integers(1_000 * SECOND, 1_100 * SECOND))
        size = draw(st.integers(1, 10**18 - 1) | st.sampled_from([SECOND, 2 * SECOND, 500]))
        seq = numbers[name] if numbered else draw(st.sampled_from([None, None, 0, 1, 2, 3]))
        found.append(Row(kind, venue, instrument, ts, recv, price, size, name, seq))
    return found
