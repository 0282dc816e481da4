"""The gate: closed to luck, open to skill, and closed again when it is gone."""

import random

import pytest

from market.forecasters.gate import FEW, NO_SKILL, Gate


def fed(gains: list[float]) -> Gate:
    gate = Gate()
    for gain in gains:
        gate.learn(1.0 - gain, 1.0)
    return gate


def noise(count: int, mean: float, seed: int = 1) -> list[float]:
    chance = random.Random(seed)
    return [chance.gauss(mean, 0.5) for _ in range(count)]


def test_few_scores_are_too_few_however_good() -> None:
    assert fed([0.5] * 30).refusal() == FEW
    assert fed([0.5] * 40).refusal() == ""


def test_luck_is_refused_nineteen_times_of_twenty() -> None:
    opened = sum(fed(noise(200, 0.0, seed)).refusal() == "" for seed in range(400))
    assert opened < 400 * 0.06


def test_skill_opens_it_and_its_loss_closes_it() -> None:
    assert fed(noise(300, 0.15)).refusal() == ""
    assert fed(noise(300, 0.15) + noise(500, -0.05, 2)).refusal() == NO_SKILL


def test_skill_is_the_share_of_the_error_that_is_gone() -> None:
    assert fed([0.25] * 50).skill == pytest.approx(0.25)
    assert Gate().skill is None
