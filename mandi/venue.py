"""`mandi simulate`: the simulated venues in one process."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

from feeds_simulator.bloomberg import server as bloomberg
from feeds_simulator.ice import server as ice
from feeds_simulator.ice.requests import Credential
from feeds_simulator.ice.session import REPLAY_WINDOW
from mandi.clock import FileClock
from mandi.errors import UsageError
from mandi.feeds import bloomberg_address, configured
from mandi.process import run_async, say, service
from mandi.settings import Settings

_LEAST_WINDOW: Final = 10_000
_BLOOMBERG_SHARE: Final = 0.25  # of the rate: FX and a few relayed futures


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateOptions:
    """`port` of ICE; `rate` in messages per second over all symbols of a venue; no `venues`: all with an address."""

    port: int
    seed: int
    rate: float
    venues: tuple[str, ...] = ()


def replay_window(rate: float) -> int:
    """Messages a channel to keep for replay: a minute and a half of them, within what the profile allows.

    More would only be memory: an ingest that dies is back within seconds.
    """
    return min(REPLAY_WINDOW, max(_LEAST_WINDOW, int(rate * 90)))


def simulate(settings: Settings, options: SimulateOptions) -> None:
    """Serve the venues until stopped. Raises: UsageError for an unknown venue."""
    venues = options.venues or configured(settings)
    unknown = [venue for venue in venues if venue not in _SERVERS]
    if unknown:
        raise UsageError(f"there is no simulated venue '{unknown[0]}'; choose among {', '.join(_SERVERS)}")

    async def serve(stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            for venue in venues:
                tasks.create_task(_SERVERS[venue](settings, options, stop))

    with service(settings):
        run_async(serve)


def _ice(settings: Settings, options: SimulateOptions, stop: asyncio.Event) -> Coroutine[Any, Any, None]:
    config = ice.SimulatorConfig(
        port=options.port,
        credentials={settings.ice_key: Credential(settings.ice_secret)},
        seed=options.seed,
        rate=options.rate,
        replay_window=replay_window(options.rate),
    )
    listening = _say_when_listening("ICE venue on ws://127.0.0.1:{port}/v1/feed")
    return ice.serve(config, FileClock(settings.clock_file), stop, listening)


def _bloomberg(settings: Settings, options: SimulateOptions, stop: asyncio.Event) -> Coroutine[Any, Any, None]:
    host, port = bloomberg_address(settings)
    rate = options.rate * _BLOOMBERG_SHARE
    config = bloomberg.SimulatorConfig(host=host, port=port, seed=options.seed, rate=rate)
    listening = _say_when_listening(f"Bloomberg server on {host}:{{port}}")
    return bloomberg.serve(config, FileClock(settings.clock_file), stop, listening)


def _say_when_listening(text: str) -> Callable[[int], None]:
    return lambda port: say(text.format(port=port))


_SERVERS: Final[Mapping[str, Callable[[Settings, SimulateOptions, asyncio.Event], Coroutine[Any, Any, None]]]] = {
    "ice": _ice,
    "bloomberg": _bloomberg,
}
