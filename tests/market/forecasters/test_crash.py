"""Crash probabilities: the base rate until something is known, and what is known when it is."""

import random

from market.forecasters.crash import Crash
from market.forecasters.online import FEATURES


def features(stretch: float) -> tuple[float, ...]:
    return tuple(stretch if name == "stretch" else 0.0 for name in FEATURES)


def lived(informed: bool, count: int = 3_000) -> tuple[Crash, float, float]:
    """After many bars in which a crash follows a stretched market, or nothing at all: and both Brier scores."""
    chance, crash, brier = random.Random(4), Crash(), [0.0, 0.0]
    for _ in range(count):
        stretch = chance.choice((-1.0, 1.5))
        likely = (0.02, 0.25)[stretch > 0] if informed else 0.06
        came, said = chance.random() < likely, crash.probabilities(features(stretch))
        for at, probability in enumerate(said):
            brier[at] += (probability - came) ** 2
        crash.learn(features(stretch), said, came)
    return crash, brier[0], brier[1]


def test_where_a_crash_can_be_known_it_is_and_the_regression_is_served() -> None:
    crash, brier, base = lived(informed=True)
    assert crash.earned()
    assert brier < 0.97 * base
    calm, stretched = (crash.probabilities(features(stretch))[0] for stretch in (-1.0, 1.5))
    assert calm < 0.08
    assert stretched > 0.15


def test_where_it_cannot_the_base_rate_is_served_and_is_right() -> None:
    crash, _, _ = lived(informed=False)
    assert not crash.earned()
    assert abs(crash.probabilities(features(0.0))[1] - 0.06) < 0.02


def test_nothing_is_served_but_the_base_before_much_was_seen() -> None:
    crash, _, _ = lived(informed=True, count=200)
    assert not crash.earned()
