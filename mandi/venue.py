"""`mandi simulate`: the simulated ICE venue as a process."""

from dataclasses import dataclass

from feeds_simulator.ice.requests import Credential
from feeds_simulator.ice.server import SimulatorConfig, serve
from mandi.clock import FileClock
from mandi.process import run_async, say, service
from mandi.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateOptions:
    """`rate` in messages per second over all symbols."""

    port: int
    seed: int
    rate: float


def simulate(settings: Settings, options: SimulateOptions) -> None:
    """Serve the venue until stopped."""
    config = SimulatorConfig(
        port=options.port,
        credentials={settings.ice_key: Credential(settings.ice_secret)},
        seed=options.seed,
        rate=options.rate,
        state_path=settings.data_dir / "simulator.json",
    )

    def listening(port: int) -> None:
        say(f"ICE venue on ws://127.0.0.1:{port}/v1/feed")

    with service(settings):
        run_async(lambda stop: serve(config, FileClock(settings.clock_file), stop, listening))
