"""Which venues can be simulated, and how each is made from the settings. A new venue is an entry of `SIMULATORS`."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urlsplit

from feeds_simulator.bloomberg.securities import security_of
from feeds_simulator.bloomberg.server import BloombergSimulator
from feeds_simulator.bloomberg.server import SimulatorConfig as BloombergConfig
from feeds_simulator.cme.server import CmeSimulator
from feeds_simulator.cme.server import SimulatorConfig as CmeConfig
from feeds_simulator.faults import Faults
from feeds_simulator.ice.requests import Credential
from feeds_simulator.ice.server import IceSimulator
from feeds_simulator.ice.server import SimulatorConfig as IceConfig
from feeds_simulator.ice.session import REPLAY_WINDOW
from feeds_simulator.ice.symbols import ice_symbol
from feeds_simulator.mcx.server import McxSimulator
from feeds_simulator.mcx.server import SimulatorConfig as McxConfig
from feeds_simulator.mcx.symbols import kite_symbol
from feeds_simulator.pacing import Market
from feeds_simulator.scenarios import Script
from mandi.feeds import bloomberg_address, cme_address, mcx_url
from mandi.settings import Settings

_LEAST_WINDOW: Final = 10_000


class Simulator(Protocol):
    """A venue that serves until `stop` is set, and calls `on_listening` with its port."""

    async def run(self, stop: asyncio.Event, on_listening: Callable[[int], None] | None = None) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Staging:
    """What a venue's simulator is made of. `rate` in messages per second of this venue."""

    settings: Settings
    port: int
    """The one of the command line, for ICE."""
    seed: int
    rate: float
    market: Market
    faults: Faults
    script: Script
    now: Callable[[], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedVenue:
    """One entry. `share` of all messages; `where` says with `{port}` what people connect to."""

    share: float
    where: str
    build: Callable[[Staging], Simulator]
    symbol_of: Callable[[str], str] = str


def replay_window(rate: float) -> int:
    """Messages a channel to keep for replay: a minute and a half of them, within what the profile allows.

    More would only be memory: an ingest that dies is back within seconds.
    """
    return min(REPLAY_WINDOW, max(_LEAST_WINDOW, int(rate * 90)))


def _ice(staging: Staging) -> Simulator:
    settings = staging.settings
    config = IceConfig(
        port=staging.port,
        credentials={settings.ice_key: Credential(settings.ice_secret)},
        replay_window=replay_window(staging.rate),
    )
    return IceSimulator(config, staging.now, staging.market, staging.faults)


def _mcx(staging: Staging) -> Simulator:
    settings = staging.settings
    address = urlsplit(mcx_url(settings))
    config = McxConfig(
        host=address.hostname or "127.0.0.1",
        port=address.port or 0,
        broker=settings.mcx_broker,
        api_key=settings.mcx_api_key,
        access_token=settings.mcx_access_token,
        client_code=settings.mcx_client_code or "",
        feed_token=settings.mcx_feed_token,
        buy_flag=settings.mcx_buy_flag,
    )
    return McxSimulator(config, staging.now, staging.market, staging.faults)


def _bloomberg(staging: Staging) -> Simulator:
    host, port = bloomberg_address(staging.settings)
    config = BloombergConfig(host=host, port=port, seed=staging.seed, start_ns=staging.script.start_ns)
    simulator = BloombergSimulator(config, staging.now, staging.market, staging.faults)
    for ts_event, flash in staging.script.flashes():
        simulator.news.flash(ts_event, flash.headline, flash.body, flash.commodities)
    return simulator


def _cme(staging: Staging) -> Simulator:
    settings = staging.settings
    host, port = cme_address(settings)
    config = CmeConfig(
        host=host,
        port=port,
        comp_id=settings.cme_target,
        passwords={settings.cme_sender: settings.cme_password},
        dialect=settings.cme_dialect,
        window=replay_window(staging.rate),
    )
    return CmeSimulator(config, staging.now, staging.market, staging.faults)


SIMULATORS: Final[Mapping[str, SimulatedVenue]] = {
    "ice": SimulatedVenue(share=0.3, where="ws://127.0.0.1:{port}/v1/feed", build=_ice, symbol_of=ice_symbol),
    "mcx": SimulatedVenue(share=0.25, where="ws://127.0.0.1:{port}", build=_mcx, symbol_of=kite_symbol),
    "cme": SimulatedVenue(share=0.35, where="127.0.0.1:{port} (FIX)", build=_cme),
    "bloomberg": SimulatedVenue(share=0.1, where="127.0.0.1:{port}", build=_bloomberg, symbol_of=security_of),
}
