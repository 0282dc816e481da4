"""`mandi simulate`: the simulated ICE venue as a process."""

from dataclasses import dataclass
from typing import Final

from feeds_simulator.ice.requests import Credential
from feeds_simulator.ice.server import SimulatorConfig, serve
from feeds_simulator.ice.session import REPLAY_WINDOW
from mandi.clock import FileClock
from mandi.process import run_async, say, service
from mandi.settings import Settings

_LEAST_WINDOW: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateOptions:
    """`rate` in messages per second over all symbols."""

    port: int
    seed: int
    rate: float


def replay_window(rate: float) -> int:
    """Messages a channel to keep for replay: a minute and a half of them, within what the profile allows.

    More would only be memory: an ingest that dies is back within seconds.
    """
    return min(REPLAY_WINDOW, max(_LEAST_WINDOW, int(rate * 90)))


def simulate(settings: Settings, options: SimulateOptions) -> None:
    """Serve the venue until stopped."""
    config = SimulatorConfig(
        port=options.port,
        credentials={settings.ice_key: Credential(settings.ice_secret)},
        seed=options.seed,
        rate=options.rate,
        replay_window=replay_window(options.rate),
    )

    def listening(port: int) -> None:
        say(f"ICE venue on ws://127.0.0.1:{port}/v1/feed")

    with service(settings):
        run_async(lambda stop: serve(config, FileClock(settings.clock_file), stop, listening))
