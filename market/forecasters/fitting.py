"""Fit models that are too slow for a stream: AutoETS and AutoTheta of statsforecast, which choose their own form.

What comes back is no model but the few numbers with which the stream carries it on (`Smoothing` in
market.forecasters.online), and forecasts the same. statsforecast is imported by the first fit of a process, and takes
two seconds: only the worker that fits has it.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from market.forecasters.online import Smoothing

LEAST_CLOSES: Final = 30


def fit(closes: Sequence[float]) -> dict[str, dict[str, float]]:
    """Return the parameters of each model that could be fitted, by its name.

    Units: closes are of bars in a row, oldest first; parameters are those of `Smoothing`, as after the last close.
    """
    if len(closes) < LEAST_CLOSES or min(closes) == max(closes):
        return {}
    values, found = np.asarray(closes, np.float64), {}
    for name, fitted in _FITS.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                parameters = fitted(values)
        except (ValueError, ArithmeticError, np.linalg.LinAlgError):  # no form of it fits these closes
            continue
        if all(math.isfinite(number) for number in parameters.values()):
            Smoothing(**parameters)
            found[name] = parameters
    return found


def _auto_ets(values: Any) -> dict[str, float]:
    from statsforecast.models import AutoETS

    model = AutoETS(season_length=1, model="ZZN").fit(values).model_
    alpha, beta, _, damping = (0.0 if math.isnan(number) else float(number) for number in model["par"][:4])
    state = np.asarray(model["states"])[-1]
    trended = model["components"][1] != "N"
    return {
        "level": float(state[0]),
        "alpha": alpha,
        "trend": float(state[1]) if trended else 0.0,
        "beta": beta if trended else 0.0,
        "damping": damping if trended and damping else 1.0,
    }


def _auto_theta(values: Any) -> dict[str, float]:
    from statsforecast.models import AutoTheta

    fitted = AutoTheta(season_length=1).fit(values)
    first, second = (float(number) for number in fitted.predict(h=2)["mean"])
    level = float(np.asarray(fitted.model_["states"])[-1][0])
    alpha = float(fitted.model_["par"]["alpha"])
    return {"level": level, "alpha": alpha, "offset": first - level, "slope": second - first}


_FITS: Final[Mapping[str, Callable[[Any], dict[str, float]]]] = {"auto_ets": _auto_ets, "auto_theta": _auto_theta}
