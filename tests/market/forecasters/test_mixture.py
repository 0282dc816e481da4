"""The mixture: never much worse than its best expert, whichever that is, and back when that changes."""

import random

import pytest

from market.forecasters.mixture import Mixture


def mixed(losses: list[list[float | None]]) -> tuple[list[float], list[list[float]]]:
    """The mixture's loss at each step, as the weighted mean of its experts', and its weights."""
    mixture, found, weights = Mixture(len(losses[0])), [], []
    for row in losses:
        weight = mixture.weights([loss is not None for loss in row])
        found.append(sum(w * loss for w, loss in zip(weight, row, strict=True) if loss is not None))
        weights.append(weight)
        mixture.learn(row)
    return found, weights


def noisy(count: int, means: list[float], seed: int = 1) -> list[list[float | None]]:
    chance = random.Random(seed)
    return [[abs(chance.gauss(mean, 0.3)) for mean in means] for _ in range(count)]


@pytest.mark.parametrize("best", range(4))
def test_it_is_soon_as_good_as_the_best(best: int) -> None:
    means = [1.0] * 4
    means[best] = 0.7
    losses = noisy(2_000, means)
    found, weights = mixed(losses)
    of_best = [row[best] for row in losses]
    assert sum(found[200:]) < 1.01 * sum(of_best[200:])
    assert weights[-1][best] > 0.9


def test_an_expert_that_grows_bad_is_left_and_one_that_recovers_is_found() -> None:
    losses = noisy(800, [1.0, 0.6, 1.4]) + noisy(800, [1.0, 1.6, 0.5], seed=2)
    found, weights = mixed(losses)
    assert weights[799][1] > 0.9
    assert weights[-1][2] > 0.9
    assert sum(found[1_200:]) < 1.02 * sum(row[2] for row in losses[1_200:])


def test_who_sleeps_has_no_weight_and_naive_begins_with_half() -> None:
    mixture = Mixture(4)
    assert mixture.weights([True] * 4) == pytest.approx([0.5, 1 / 6, 1 / 6, 1 / 6])
    assert mixture.weights([True, False, True, False]) == pytest.approx([0.75, 0, 0.25, 0])
    assert mixture.weights([True, False, False, False]) == [1, 0, 0, 0]


def test_one_absurd_loss_does_not_end_an_expert() -> None:
    losses = noisy(300, [1.0, 0.7])
    losses[150][1] = 1e9
    _, weights = mixed(losses)
    assert weights[-1][1] > 0.8
