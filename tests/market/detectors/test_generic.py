"""The generic detector: silent on what is usual, awake to what no rule has a name for, the same every time."""

import pickle
import random

from market.detectors.generic import GATE, GenericDetector
from market.detectors.protocol import UNUSUAL, Finding, Step

S = 1_000_000_000


def steps(count: int, *, flood: range = range(0), seed: int = 1) -> list[Step]:
    """A quiet walk; during the flood the book is said again and again, without a trade or a move."""
    chance, price, found = random.Random(seed), 4_000 * S, []
    for second in range(count):
        flooded = second in flood
        price += 0 if flooded else chance.randrange(-3, 4) * S // 10
        trades = 0 if flooded else chance.randrange(4)
        at = (second + 1) * S
        step = Step(at_ns=at, ts_event=at, trades=trades, volume=trades * 2_000_000, quoted=True)
        step.quotes = 600 if flooded else chance.randrange(2, 9)
        step.least_spread = 1 if flooded else chance.randrange(1, 4) * S // 10
        step.bid, step.ask = price - S // 10, price + S // 10
        found.append(step)
    return found


def scored(detector: GenericDetector, given: list[Step]) -> dict[int, Finding]:
    found = {}
    for number, step in enumerate(given):
        finding = detector.score(step)
        (detector.learn if finding is None else detector.skip)(step)
        if finding is not None:
            found[number] = finding
    return found


def test_what_is_usual_is_passed_over() -> None:
    assert len(scored(GenericDetector(), steps(3_000))) <= 3


def test_a_flood_of_quotes_without_a_move_is_unusual() -> None:
    flood = range(1_500, 1_520)
    found = scored(GenericDetector(), steps(1_600, flood=flood))
    seen = [number for number in found if number in flood]
    assert seen
    assert seen[0] - flood.start <= 2
    first = found[seen[0]]
    assert (first.kind, first.score > 1) == (UNUSUAL, True)
    assert first.evidence["pace"] > 5  # type: ignore[operator]


def test_it_is_the_same_after_a_snapshot_and_its_state_is_bounded() -> None:
    given = steps(2_000, flood=range(1_500, 1_520))
    whole, parted, sizes = scored(GenericDetector(), given), {}, []
    detector = GenericDetector()
    for start in range(0, len(given), 250):
        detector = pickle.loads(pickle.dumps(detector))
        parted |= {start + at: each for at, each in scored(detector, given[start : start + 250]).items()}
        sizes.append(len(pickle.dumps(detector)))
    assert parted == whole
    assert max(sizes) < 12_000


def test_nothing_is_said_before_enough_was_learnt() -> None:
    assert not scored(GenericDetector(), steps(GATE, flood=range(100, 120)))
