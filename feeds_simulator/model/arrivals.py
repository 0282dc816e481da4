"""When something happens at a venue: a Hawkes process with an exponential kernel, drawn a stretch at a time.

Each arrival causes `branching` more on average, after exponential delays: bursts. Over windows much longer than
`1 / (decay * (1 - branching))` the Fano factor of counts tends to `1 / (1 - branching)^2`.

Source: Hawkes and Oakes, "A cluster process representation of a self-exciting process", Journal of Applied
Probability 11 (1974): exact, and a few calls of numpy per stretch.
"""

from typing import Final

import numpy as np

from feeds_simulator.model.paths import Floats

BRANCHING: Final = 0.6
DECAY_PER_S: Final = 2.0
_WARM_UP_S: Final = 10.0  # into the stationary mean


class Arrivals:
    """Arrivals at a mean `rate` per second."""

    __slots__ = ("_base", "_pending", "_rng")

    def __init__(self, rng: np.random.Generator, rate: float) -> None:
        self._rng = rng
        self._base = rate * (1 - BRANCHING)
        self._pending: Floats = np.empty(0)
        self.take(_WARM_UP_S)

    def take(self, length_s: float) -> Floats:
        """Return the arrivals of the next stretch in order, as seconds since its start."""
        rng = self._rng
        generation: Floats = rng.random(rng.poisson(self._base * length_s)) * length_s
        found = [self._pending]
        while generation.size:
            found.append(generation)
            parents = np.repeat(generation, rng.poisson(BRANCHING, generation.size))
            generation = parents + rng.exponential(1 / DECAY_PER_S, parents.size)
        times = np.concatenate(found)
        self._pending = times[times >= length_s] - length_s
        return np.sort(times[times < length_s])
