"""The forecast kernel: bars in; what comes next, how sure that is, and how good it was, out.

Each instrument has an outlook of its own (market.forecasters.outlook), moved on by each of its final bars. Of every
horizon the ensemble is served while it has earned its place, else naive, and the rows say which and why. Nothing is
said of a bar whose quality is not LIVE, and nothing is learnt from it.

Models that are fitted elsewhere come as rows among the bars. So a fit holds from its place in that order on, whenever
it was asked for and however long it took, and a rebuild from the same rows gives the same forecasts.
"""

import json
import pickle
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any, Final
from zlib import crc32

import pyarrow as pa

from market.forecasters.conformal import LEVELS
from market.forecasters.online import HORIZONS, NAIVE, Fitted
from market.forecasters.outlook import ENSEMBLE, Outlook, Promise, Score
from market.forecasters.trading_time import TradingTime
from market.instruments import BadInstrumentKey, InstrumentMaster
from market.kernel import Outputs
from market.schemas import FIT_REQUESTS, FORECAST_SCORES, FORECASTS, INTERVALS_NS, PRICE_LIMIT, PRICE_SCALE, QUALITIES
from market.watch import FORGOTTEN_NS

WIDTH: Final = "1m"
FIRST_FIT_BARS: Final = 60
REFIT_BARS: Final = 240
FIT_CLOSES: Final = 240
_LIVE: Final = QUALITIES[0]
_NS_PER_S: Final = 10**9
_LEVELS_FIXED: Final = tuple(round(level * PRICE_SCALE) for level in LEVELS)
_OF_TICK: Final = 0.25
_SCHEMAS: Final = {"forecasts": FORECASTS, "forecast_scores": FORECAST_SCORES, "fit_requests": FIT_REQUESTS}


@dataclass(slots=True)
class Watched:
    """One instrument. `closes`: of the last bars, each with its time."""

    name: str
    venue: str
    outlook: Outlook
    trading: TradingTime
    next_fit: int
    ts_close: int = 0
    bars: int = 0
    silent: str = ""
    closes: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=FIT_CLOSES))
    fitted: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class ForecastKernel:
    """Forecast every instrument that trades, at the end of each of its bars of one width.

    Shape: FORECAST_STEPS -> `forecasts` (a row a horizon and level), `forecast_scores` (a row a model and horizon that
        came due and does not overlap the one before), `fit_requests`; each in the order of the bars.
    State: some 20 kB an instrument that traded within ten days.
    """

    width: str = WIDTH
    _watched: dict[str, Watched] = field(default_factory=dict)
    _frozen: dict[str, bytes] = field(default_factory=dict)  # instruments as they were pickled last
    _rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {name: [] for name in _SCHEMAS})

    # --- the Kernel protocol --------------------------------------------------------------------

    def on_batch(self, arrivals: pa.RecordBatch) -> Outputs:
        for row in _rows_of(arrivals):
            if row["fit"] is None:
                self._bar(row)
            else:
                self._fit(row)
        return self._flush()

    def on_time(self, now_ns: int) -> Outputs:  # noqa: ARG002 - the protocol's signature
        return {}  # bars move the time, so a replay gives the same forecasts

    def next_wake_ns(self) -> int | None:
        return None

    def on_eof(self) -> Outputs:
        return {}  # what is promised beyond the end is not known

    def on_history_lost(self) -> None:
        pass  # what was not seen was not learnt

    def snapshot(self) -> object:
        for name, watched in self._watched.items():
            if name not in self._frozen:
                self._frozen[name] = pickle.dumps(watched)
        return dict(self._frozen)

    def restore(self, state: object) -> None:
        saved: dict[str, bytes] = state  # type: ignore[assignment]
        self._frozen = dict(saved)
        self._watched = {name: pickle.loads(each) for name, each in saved.items()}

    # --- what is known of all of them -----------------------------------------------------------

    def coverage(self) -> dict[tuple[float, int], tuple[float, float]]:
        """Return hits and scores of the served intervals of late, by level and horizon in seconds."""
        found: dict[tuple[float, int], tuple[float, float]] = {}
        for watched in self._watched.values():
            for horizon_s, horizon in zip(self._horizons_s(), watched.outlook.horizons, strict=True):
                for level, hits in zip(LEVELS, horizon.hits, strict=True):
                    before = found.get((level, horizon_s), (0.0, 0.0))
                    found[level, horizon_s] = before[0] + hits, before[1] + horizon.scored
        return found

    def losses(self) -> dict[tuple[str, int], tuple[float, float]]:
        """Return the losses of each model and of naive on the same forecasts, by model and horizon in seconds."""
        found: dict[tuple[str, int], tuple[float, float]] = {}
        for watched in self._watched.values():
            for horizon_s, horizon in zip(self._horizons_s(), watched.outlook.horizons, strict=True):
                for name, gate in zip(watched.outlook.names[1:], horizon.gates, strict=True):
                    before, (lost, naive) = found.get((name, horizon_s), (0.0, 0.0)), gate.sums
                    found[name, horizon_s] = before[0] + lost, before[1] + naive
        return found

    # --- bars -----------------------------------------------------------------------------------

    def _bar(self, row: dict[str, Any]) -> None:
        watched = self._watched.get(row["instrument"]) or self._first_seen(row)
        if row["ts_close"] <= watched.ts_close:
            return  # a bar that was written again, or a revision of one that was learnt
        self._frozen.pop(watched.name, None)
        watched.ts_close = row["ts_close"]
        if row["quality"] != _LIVE:
            self._say_nothing(watched, row)
            return
        watched.silent = ""
        outlook, price = watched.outlook, row["close"] / PRICE_SCALE
        for score in outlook.due(row["ts_close"], price):
            self._rows["forecast_scores"] += _scored(watched, score, self._horizons_s()[score.horizon], row)
        seen = outlook.see(price, row["width"] / PRICE_SCALE, row["volume"] / PRICE_SCALE, _book(row))
        if outlook.ready:
            targets = watched.trading.later(row["ts_close"], self._horizons_ns())
            for at, promise in enumerate(outlook.promise(seen, row["ts_close"], targets)):
                self._rows["forecasts"] += self._served(watched, at, promise, row)
        watched.bars += 1
        watched.closes.append((row["ts_close"], row["close"]))
        if watched.bars >= watched.next_fit:
            self._ask_for_fit(watched)

    def _first_seen(self, row: dict[str, Any]) -> Watched:
        name, now = row["instrument"], row["ts_close"]
        for old in [each.name for each in self._watched.values() if each.ts_close < now - FORGOTTEN_NS]:
            del self._watched[old]
            self._frozen.pop(old, None)
        # Not all at once: instruments that began together would want their fits together.
        first_fit = FIRST_FIT_BARS + crc32(name.encode()) % FIRST_FIT_BARS
        outlook = Outlook(_tick(name, now) * _OF_TICK)
        found = Watched(name, row["venue"], outlook, TradingTime(name), first_fit)
        self._watched[name] = found
        return found

    def _say_nothing(self, watched: Watched, row: dict[str, Any]) -> None:
        watched.outlook.forgive(row["ts_close"])
        if watched.silent == row["quality"]:
            return
        watched.silent = row["quality"]
        (target,) = watched.trading.later(row["ts_close"], self._horizons_ns()[:1])
        self._rows["forecasts"].append(
            {
                **_made(watched, NAIVE, row["ts_close"], self._horizons_s()[0], target),
                "level": _LEVELS_FIXED[0],
                "price": row["close"],
                "reason": f"quality: {row['quality']}",
                "scored": 0,
                "as_known_at": row["as_known_at"],
            }
        )

    def _served(self, watched: Watched, at: int, promise: Promise, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        horizon = watched.outlook.horizons[at]
        mixed = promise.served == ENSEMBLE
        move = promise.moves[-1] if mixed else 0.0
        assert move is not None
        told = {
            **_made(watched, promise.served, promise.made_ns, self._horizons_s()[at], promise.target_ns),
            "price": row["close"],
            "mean": _fixed(promise.price + move),
            "crash_probability": _fixed(promise.crash_served),
            "reason": promise.reason,
            "skill": _fixed_or_null(horizon.gates[-1].skill),
            "scored": round(horizon.scored),
            "as_known_at": row["as_known_at"],
        }
        for level, reach, coverage in zip(_LEVELS_FIXED, promise.reaches[mixed], horizon.coverage(), strict=True):
            yield {
                **told,
                "level": level,
                "lo": _fixed(promise.price + move - reach),
                "hi": _fixed(promise.price + move + reach),
                "coverage": _fixed_or_null(coverage),
            }

    # --- fits -----------------------------------------------------------------------------------

    def _ask_for_fit(self, watched: Watched) -> None:
        watched.next_fit = watched.bars + REFIT_BARS
        self._rows["fit_requests"].append(
            {
                "venue": watched.venue,
                "instrument": watched.name,
                "ts_close": watched.ts_close,
                "closes": [close for _, close in watched.closes],
            }
        )

    def _fit(self, row: dict[str, Any]) -> None:
        watched, fit = self._watched.get(row["instrument"]), json.loads(row["fit"])
        made_ns, model = row["ts_close"], fit["model"]
        if watched is None or made_ns <= watched.fitted.get(model, -1):
            return
        if not watched.closes or watched.closes[0][0] > made_ns:
            return  # too old: the bars since then are not at hand
        self._frozen.pop(watched.name, None)
        since = list(takewhile(lambda each: each[0] > made_ns, reversed(watched.closes)))
        member = watched.outlook.members[model]
        assert isinstance(member, Fitted)
        member.take(fit["parameters"], [close / PRICE_SCALE for _, close in reversed(since)])
        watched.fitted[model] = made_ns

    # --- rows -----------------------------------------------------------------------------------

    def _horizons_ns(self) -> list[int]:
        return [bars * INTERVALS_NS[self.width] for bars in HORIZONS]

    def _horizons_s(self) -> list[int]:
        return [each // _NS_PER_S for each in self._horizons_ns()]

    def _flush(self) -> Outputs:
        found = {name: rows for name, rows in self._rows.items() if rows}
        self._rows = {name: [] for name in _SCHEMAS}
        return {name: pa.RecordBatch.from_pylist(rows, schema=_SCHEMAS[name]) for name, rows in found.items()}


def _rows_of(arrivals: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    # A row is a bar of an instrument, a few a second: what is done with it costs a hundred times what reading it does.
    names = arrivals.schema.names
    for values in zip(*(column.to_pylist() for column in arrivals.columns), strict=True):
        yield dict(zip(names, values, strict=True))


def _scored(watched: Watched, score: Score, horizon_s: int, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    promise = score.promise
    if not promise.alone:
        return
    held = {NAIVE: score.held[0], ENSEMBLE: score.held[1]}
    naive_missed = _fixed(abs(score.actual - promise.price))
    for name, move in zip(watched.outlook.names, promise.moves, strict=True):
        if move is None:
            continue
        covered = held.get(name, (None, None))
        yield {
            **_made(watched, name, promise.made_ns, horizon_s, promise.target_ns),
            "mean": _fixed(promise.price + move),
            "actual": _fixed(score.actual),
            "abs_error": _fixed(abs(score.actual - promise.price - move)),
            "naive_abs_error": naive_missed,
            "covered": covered[0],
            "covered_80": covered[1],
            "crash": score.crashed,
            "crash_probability": _fixed(promise.crash_served) if name == ENSEMBLE else None,
            "crash_base": _fixed(promise.crash[1]) if name == ENSEMBLE else None,
            "served": name == promise.served,
            "as_known_at": row["as_known_at"],
        }


def _made(watched: Watched, model: str, made_ns: int, horizon_s: int, target_ns: int) -> dict[str, Any]:
    return {
        "venue": watched.venue,
        "instrument": watched.name,
        "model": model,
        "ts_made": made_ns,
        "horizon_s": horizon_s,
        "ts_target": target_ns,
    }


def _book(row: dict[str, Any]) -> Sequence[float]:
    """Imbalance, microprice less mid, and spread; nothing where there is no book."""
    if row["mid_price"] is None or row["micro_price"] is None:
        return 0.0, 0.0, 0.0
    imbalance, spread = row["imbalance"] or 0, row["spread"] or 0
    return imbalance / PRICE_SCALE, (row["micro_price"] - row["mid_price"]) / PRICE_SCALE, spread / PRICE_SCALE


def _tick(name: str, at_ns: int) -> float:
    try:
        contract = InstrumentMaster.load().resolve(name, datetime.fromtimestamp(at_ns // _NS_PER_S, UTC).date())
    except BadInstrumentKey:
        return 1e-6
    return (contract.tick_fixed or 1_000) / PRICE_SCALE


def _fixed(value: float) -> int:
    return max(1 - PRICE_LIMIT, min(PRICE_LIMIT - 1, round(value * PRICE_SCALE)))


def _fixed_or_null(value: float | None) -> int | None:
    return None if value is None else _fixed(value)
