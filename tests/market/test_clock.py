"""The market clock never goes backwards and inverts exactly."""

import doctest

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import market.clock
import market.instruments
from market.clock import Anchor, BadClock, MarketClock, NeverReached

NOW_NS = 1_795_231_397_678_000_001

walls = st.integers(0, 2 * 10**18)
speeds = st.sampled_from([0.0, 0.1, 1.0, 2.5, 10.0, 1000.0])


@st.composite
def clocks(draw: st.DrawFn) -> MarketClock:
    clock = MarketClock((Anchor(draw(walls), draw(walls), draw(speeds)),))
    for _ in range(draw(st.integers(0, 3))):
        wall_ns = clock.anchors[-1].wall_ns + draw(st.integers(1, 10**15))
        ahead_ns = draw(st.sampled_from([0, 1, 10**12]))
        clock = clock.shifted(wall_ns=wall_ns, market_ns=clock.at(wall_ns) + ahead_ns, speed=draw(speeds))
    return clock


def test_identity_is_exact() -> None:
    assert MarketClock.identity().at(NOW_NS) == NOW_NS
    assert MarketClock.identity().wall_at(NOW_NS) == NOW_NS


def test_shift_and_speed() -> None:
    clock = MarketClock.identity().shifted(wall_ns=NOW_NS, market_ns=NOW_NS + 10**15)
    clock = clock.shifted(wall_ns=NOW_NS + 100, speed=10.0)
    assert clock.at(NOW_NS - 1) == NOW_NS - 1
    assert clock.at(NOW_NS) == NOW_NS + 10**15
    assert clock.at(NOW_NS + 107) == NOW_NS + 10**15 + 170


def test_shift_keeps_the_speed_of_the_moment() -> None:
    clock = MarketClock((Anchor(0, 0, 3.0),)).shifted(wall_ns=100, market_ns=1_000)
    assert clock.at(110) == 1_030


def test_high_speed_loses_no_ns() -> None:
    clock = MarketClock((Anchor(0, 0, 3.0),))
    assert clock.at(NOW_NS) == 3 * NOW_NS


def test_before_the_first_anchor_it_stands() -> None:
    clock = MarketClock((Anchor(1_000, 77),))
    assert clock.at(0) == 77
    assert clock.wall_at(3) == 1_000


@given(clocks(), walls, walls)
def test_never_backwards(clock: MarketClock, one: int, other: int) -> None:
    assert clock.at(min(one, other)) <= clock.at(max(one, other))


@given(clocks(), st.integers(0, 3 * 10**18))
def test_wall_at_is_the_earliest(clock: MarketClock, market_ns: int) -> None:
    try:
        wall_ns = clock.wall_at(market_ns)
    except NeverReached:
        assert clock.at(10**22) < market_ns
        return
    assert clock.at(wall_ns) >= market_ns
    assume(wall_ns > clock.anchors[0].wall_ns)
    assert clock.at(wall_ns - 1) < market_ns


@given(clocks())
def test_json_round_trip(clock: MarketClock) -> None:
    assert MarketClock.from_json(clock.to_json()) == clock


@pytest.mark.parametrize(
    "anchors",
    [
        (),
        (Anchor(0, 0, -1.0),),
        (Anchor(0, 0, float("nan")),),
        (Anchor(0, 0, float("inf")),),
        (Anchor(10, 0), Anchor(5, 100)),
        (Anchor(0, 0, 2.0), Anchor(10, 19)),
    ],
)
def test_refuses(anchors: tuple[Anchor, ...]) -> None:
    with pytest.raises(BadClock):
        MarketClock(anchors)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"anchors": [{"wall_ns": "x"}]}', '{"anchors": 3}', b"\xff"])
def test_refuses_other_json(text: str | bytes) -> None:
    with pytest.raises(BadClock):
        MarketClock.from_json(text)


@pytest.mark.parametrize("module", [market.clock, market.instruments])
def test_examples(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]
