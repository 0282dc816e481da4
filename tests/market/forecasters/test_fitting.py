"""Fits: what the stream makes of their parameters is what statsforecast itself forecasts, then and later."""

import numpy as np
import pytest

from market.forecasters.fitting import fit
from market.forecasters.online import Smoothing

HORIZONS = (1, 5, 20)


def series(kind: str, count: int = 200) -> list[float]:
    chance = np.random.default_rng(1)
    walk = np.cumsum(chance.normal(0, 1, count))
    found = {
        "walk": 100 + walk,
        "trend": 50 + 0.3 * np.arange(count) + chance.normal(0, 1, count),
        "still": 1_000 + chance.normal(0, 1, count),
        "growth": 100 * np.exp(0.002 * np.arange(count) + 0.01 * walk),
        "negative": walk - 500,
    }
    return found[kind].tolist()


@pytest.mark.parametrize("kind", ["walk", "trend", "still", "growth", "negative"])
def test_a_fit_forecasts_as_statsforecast_does(kind: str) -> None:
    from statsforecast.models import AutoETS, AutoTheta

    values = np.array(series(kind))
    for name, model in (
        ("auto_ets", AutoETS(season_length=1, model="ZZN")),
        ("auto_theta", AutoTheta(season_length=1)),
    ):
        expected = model.fit(values).predict(h=20)["mean"][np.array(HORIZONS) - 1]
        carried = Smoothing(**fit(values.tolist())[name])
        assert [carried.path(bars) for bars in HORIZONS] == pytest.approx(expected.tolist(), rel=1e-9)


def test_carried_on_it_is_the_same_model_on_more_closes() -> None:
    from statsforecast.models import AutoETS

    values = np.array(series("trend"))
    carried = Smoothing(**fit(values[:150].tolist())["auto_ets"])
    for price in values[150:].tolist():
        carried.follow(price)
    forward = AutoETS(season_length=1, model="ZZN").fit(values[:150]).forward(y=values, h=20)["mean"]
    assert [carried.path(bars) for bars in HORIZONS] == pytest.approx(
        forward[np.array(HORIZONS) - 1].tolist(), rel=1e-6
    )


@pytest.mark.parametrize("closes", [[], [1.0] * 100, [1.0, 2.0, 3.0]])
def test_of_too_little_there_is_no_fit(closes: list[float]) -> None:
    assert fit(closes) == {}
