"""`mandi simulate`: the simulated venues as one process."""

import asyncio
import gc
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from feeds_simulator.faults import Faults
from feeds_simulator.model import PROFILES, MarketModel, ModelConfig, Profile
from feeds_simulator.model.fair import usual_activity
from feeds_simulator.pacing import Market
from feeds_simulator.recording import BadRecording, Recording
from feeds_simulator.scenarios import Script
from feeds_simulator.stage import Stage
from feeds_simulator.truth import TruthFolder
from mandi.clock import FileClock
from mandi.errors import MandiError, UsageError
from mandi.feeds import configured
from mandi.process import run_async, say, service
from mandi.settings import Settings
from mandi.simulators import SIMULATORS, Simulator, Staging

_TRUTH_EVERY_S: Final = 0.5

_GARBAGE_THRESHOLDS: Final = (50_000, 20, 100)
"""Objects made between two looks for cycles, and how many looks of a generation make one of the next. There are few
cycles, and much that is kept for a while: with Python's own 700, 10, 10 the simulated ICE, whose replay window fills,
spent a fifth of its processor on looking through it, 120 ms at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateOptions:
    """`port` of ICE; `rate` in messages per second over all venues, at the start; no `venues`: all with an address."""

    port: int
    seed: int
    rate: float
    venues: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()
    record: Path | None = None
    """A recorded file to play instead of the model."""


def simulate(settings: Settings, options: SimulateOptions) -> None:
    """Serve the venues until stopped. After SIGUSR1 nothing more happens on them. Raises: UsageError."""
    unknown = [venue for venue in options.venues if venue not in SIMULATORS]
    if unknown:
        raise UsageError(f"there is no simulated venue '{unknown[0]}'; choose among {', '.join(SIMULATORS)}")
    with service(settings, " ".join(["simulate", *options.venues])):
        gc.set_threshold(*_GARBAGE_THRESHOLDS)
        try:
            run_async(partial(_serve, settings, options, FileClock(settings.clock_file)))
        except BadRecording as bad:
            raise MandiError(f"the recording ends here: {bad}") from bad


async def _serve(settings: Settings, options: SimulateOptions, now: Callable[[], int], stop: asyncio.Event) -> None:
    start_ns = now()
    venues = options.venues or configured(settings)
    script = Script(options.scenarios, start_ns, venues)
    stages: dict[str, tuple[Stage, Faults]] = {}
    running = []
    for venue in venues:
        simulator, stages[venue] = _build(settings, options, script, venue, now)
        running.append(asyncio.create_task(simulator.run(stop, partial(_announce, venue)), name=venue))
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, _close, stages)
    truth = TruthFolder(settings.data_dir / "truth", f"{start_ns // 1_000_000:x}", stages)
    writing = asyncio.create_task(_keep_truth(truth, now))
    try:
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        stop.set()  # if one has failed, the others end too
        await asyncio.gather(*running)
    finally:
        writing.cancel()
        truth.write(now())


def _close(stages: Mapping[str, tuple[Stage, Faults]]) -> None:
    for stage, _ in stages.values():
        stage.close()


def _build(
    settings: Settings, options: SimulateOptions, script: Script, venue: str, now: Callable[[], int]
) -> tuple[Simulator, tuple[Stage, Faults]]:
    simulated, faults = SIMULATORS[venue], Faults()
    rate = options.rate * simulated.share / sum(SIMULATORS[name].share for name in script.venues)
    market = _market(options, script, venue, rate, simulated.symbol_of)
    stage = Stage(venue, market, script, faults)
    simulator = simulated.build(
        Staging(
            settings=settings,
            port=options.port,
            seed=options.seed,
            rate=rate,
            market=stage,
            faults=faults,
            script=script,
            now=now,
        )
    )
    stage.heard = getattr(simulator, "heard", stage.heard)
    stage.told = getattr(simulator, "told", None)
    stage.lost = getattr(simulator, "lost", None)
    return simulator, (stage, faults)


def _market(
    options: SimulateOptions, script: Script, venue: str, rate: float, symbol_of: Callable[[str], str]
) -> Market:
    profiles = PROFILES[venue]
    if options.record is not None:
        try:
            return Recording(options.record, script.start_ns, symbol_of, {profile.mic for profile in profiles})
        except BadRecording as bad:
            raise UsageError(f"{venue} cannot play this: {bad}") from bad
    return MarketModel(
        ModelConfig(
            start_ns=script.start_ns,
            seed=options.seed,
            rate=rate / _busyness(profiles, script.start_ns),
            profiles=profiles,
            symbol_of=symbol_of,
            bust_every=script.bust_every,
            correct_every=script.correct_every,
            moves=script.moves(),
        )
    )


def _busyness(profiles: Sequence[Profile], ts_ns: int) -> float:
    # Of a venue's hour, relative to its busiest: the model's rate is that of the busiest.
    shares = sum(profile.share for profile in profiles)
    return sum(profile.share * usual_activity(profile.commodity, ts_ns) for profile in profiles) / shares


def _announce(venue: str, port: int) -> None:
    say(f"{venue} on {SIMULATORS[venue].where.format(port=port)}")


async def _keep_truth(truth: TruthFolder, now: Callable[[], int]) -> None:
    while True:
        truth.write(now())
        await asyncio.sleep(_TRUTH_EVERY_S)
