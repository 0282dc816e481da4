"""The price-limit detector: near a limit, at it, and after the venue has widened it."""

from dataclasses import replace

import pytest

from market.detectors.limits import Bands, LimitDetector
from market.detectors.protocol import Finding, Step

S = 10**9
SLABS = Bands(steps=(30_000_000, 60_000_000, 90_000_000), absolute=False)
REFERENCE = 100_000 * S


def told(detector: LimitDetector, per_mille: float) -> Finding | None:
    """Let the detector see a second at a price so far above the reference, as the kernel does."""
    price = REFERENCE + round(REFERENCE * per_mille / 1_000)
    step = Step(at_ns=S, quoted=True, bid=price, ask=price)
    finding = detector.score(step)
    (detector.learn if finding is None else detector.skip)(step)
    return finding


@pytest.fixture
def gold() -> LimitDetector:
    detector = LimitDetector(SLABS)
    assert told(detector, 0) is None
    return detector


@pytest.mark.parametrize(
    ("per_mille", "band"),
    [(23, None), (25, 1), (30, 1), (32, 1), (35, None), (50, 2), (-50, 2), (62, 2), (68, None), (90, 3), (120, None)],
)
def test_near_a_limit_and_not_past_it(gold: LimitDetector, per_mille: float, band: int | None) -> None:
    finding = told(gold, per_mille)
    assert (finding and finding.evidence["band"]) == band
    if finding is not None and band is not None:
        sign = 1 if per_mille > 0 else -1
        assert finding.expected == REFERENCE + sign * REFERENCE * SLABS.steps[band - 1] // S


def test_a_limit_that_was_relaxed_stays_so_until_the_session_ends(gold: LimitDetector) -> None:
    assert told(gold, 35) is None  # past the first slab: the second holds
    assert told(gold, 28) is None
    assert told(gold, -28) is None  # it holds on both sides
    finding = told(gold, 58)
    assert finding is not None
    assert finding.evidence["band"] == 2
    assert told(gold, 70) is None  # the third
    assert told(gold, 58) is None
    gold.learn(replace(Step(at_ns=S), last=REFERENCE))
    gold.reopen()
    finding = told(gold, 28)
    assert finding is not None
    assert finding.evidence["band"] == 1


def test_the_last_limit_stays_where_the_price_is_beyond_all(gold: LimitDetector) -> None:
    assert told(gold, 130) is None
    finding = told(gold, 85)
    assert finding is not None
    assert finding.evidence["band"] == 3
    assert told(gold, 58) is None


def test_a_price_whose_band_is_below_the_least_unit_has_no_limit() -> None:
    detector, step = LimitDetector(SLABS), Step(at_ns=S, quoted=True, bid=5, ask=5)
    for _ in range(2):
        assert detector.score(step) is None
        detector.learn(step)
