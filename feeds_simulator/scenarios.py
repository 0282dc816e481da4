"""The scenarios: what goes wrong, where and when, as data. Any number of them play at once.

An `Act` begins `begin_s` after the simulator's start, lasts `length_s` and comes again every `every_s` (0: once).
It is of one of three kinds: `Wire` sets faults of a venue; `Move`-making acts change the market for every venue;
a `Play` changes what one product's venue says (see `stage`).

Units: seconds of market time; sizes as each act says.
Errors:

    ValueError
    └── UnknownScenario   a name is none of `SCENARIOS`
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from feeds_simulator.model.moves import FOR_EVER_NS, Move, MoveKind

NS_PER_S: Final = 1_000_000_000


class UnknownScenario(ValueError):
    """There is no scenario of this name. Carries `name`."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no scenario '{name}'; choose among {', '.join(SCENARIOS)}")
        self.name = name


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """When something happens. `length_s` 0: for ever."""

    begin_s: float = 20.0
    length_s: float = 0.0
    every_s: float = 0.0

    def window(self, number: int) -> tuple[float, float] | None:
        """Return the begin and end of the n-th time, from 0; None if it does not come."""
        if number and not self.every_s:
            return None
        begin_s = self.begin_s + number * self.every_s
        return begin_s, begin_s + self.length_s if self.length_s else float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """Set fields of `Faults` at some venues.

    `first_of`: only at the first of these that is served. `unless`: not while one of these is.
    """

    when: When
    faults: Mapping[str, float | int | bool]
    first_of: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """Change the market of commodities and products (`MIC:ROOT`)."""

    when: When
    kind: MoveKind
    names: frozenset[str]
    size: float
    ramp_s: float = 1.0

    def move(self, start_ns: int) -> Move:
        """Return it as the model wants it."""
        from_ns = start_ns + int(self.when.begin_s * NS_PER_S)
        return Move(
            kind=self.kind,
            names=self.names,
            from_ns=from_ns,
            to_ns=from_ns + int(self.when.length_s * NS_PER_S) if self.when.length_s else FOR_EVER_NS,
            every_ns=int(self.when.every_s * NS_PER_S),
            size=self.size,
            ramp_s=self.ramp_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """Let the venues of some products (`MIC:ROOT`) say something else. `what` names a class of `plays`."""

    when: When
    what: str
    names: frozenset[str]
    size: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flash:
    """Put a headline on the wire of whoever carries news."""

    when: When
    headline: str
    body: str
    commodities: tuple[str, ...]


Act: TypeAlias = Wire | Shift | Play | Flash


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Acts, and one sentence for the list."""

    text: str
    acts: tuple[Act, ...] = ()
    bust_every: int = 0
    correct_every: int = 0


_LIQUID: Final = frozenset({"XCEC:GC", "XIMC:GOLD", "IFUS:CT", "IFEU:B", "XNYM:CL"})
_AT_ONE_VENUE: Final = frozenset({"XIMC:GOLD", "IFUS:CT", "IFEU:B"})
_BULLION: Final = frozenset({"gold", "silver"})
_DUTIABLE: Final = frozenset({"XIMC:GOLD", "XIMC:GOLDM", "XIMC:SILVER"})
_OIL: Final = frozenset({"wti", "brent"})


def _for(length_s: float, every_s: float) -> When:
    return When(length_s=length_s, every_s=every_s)


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "gap": Scenario(
        text="every 40th message of each connection is lost",
        acts=(Wire(when=_for(20, 60), faults={"drop_every": 40}),),
    ),
    # Less often than `gap` strikes: a number that comes twice ends a FIX session, whose next connection counts anew.
    "duplicate": Scenario(
        text="every 50th message comes twice", acts=(Wire(when=When(), faults={"duplicate_every": 50}),)
    ),
    "out_of_order": Scenario(
        text="every 15th message is overtaken by the next, every 97th by what comes within 0.3 s",
        acts=(Wire(when=When(), faults={"swap_every": 15, "delay_every": 97, "delay_s": 0.3}),),
    ),
    "late": Scenario(
        text="every 20th trade is published late: by 20 s, in every other stretch by 90 s",
        acts=(
            Wire(when=When(begin_s=20, length_s=60, every_s=120), faults={"late_every": 20, "late_s": 20.0}),
            Wire(when=When(begin_s=80, length_s=60, every_s=120), faults={"late_every": 20, "late_s": 90.0}),
        ),
    ),
    "future_stamp": Scenario(
        text="every 50th trade is stamped an hour ahead",
        acts=(Wire(when=_for(30, 60), faults={"future_every": 50, "future_s": 3600.0}),),
    ),
    "clock_skew": Scenario(
        text="one venue's clock is 5 h 30 min ahead (MCX, local time taken for UTC), else 3 min (ICE)",
        acts=(
            Wire(when=_for(120, 300), faults={"clock_offset_s": 19_800.0}, first_of=("mcx",)),
            Wire(when=_for(120, 300), faults={"clock_offset_s": 180.0}, first_of=("ice",), unless=("mcx",)),
        ),
    ),
    "disconnect": Scenario(
        text="every connection is cut when it is 15 s old",
        acts=(Wire(when=When(), faults={"disconnect_every_s": 15.0}),),
    ),
    "half_open": Scenario(
        text="what is connected at the time stays connected, but nothing is read or written any more",
        acts=(Wire(when=_for(1, 240), faults={"half_open": True}),),
    ),
    "stall": Scenario(
        text="connected and answering pings, but mute for 20 s",
        acts=(Wire(when=_for(20, 90), faults={"stall": True}),),
    ),
    "garbled": Scenario(
        text="every 100th message is damaged", acts=(Wire(when=_for(20, 60), faults={"garble_every": 100}),)
    ),
    "halt": Scenario(
        text="trading in the liquid products stops for 60 s",
        acts=(Play(when=_for(60, 240), what="halt", names=_LIQUID),),
    ),
    "limit_move": Scenario(
        text="gold and silver fall 12 %, cotton 7 %, for two minutes: past their limits",
        acts=(
            Shift(when=_for(120, 400), kind=MoveKind.PRICE, names=_BULLION, size=-0.13, ramp_s=6.0),
            Shift(when=_for(120, 400), kind=MoveKind.PRICE, names=frozenset({"cotton"}), size=-0.07, ramp_s=6.0),
        ),
    ),
    "crossed": Scenario(
        text="the book shows a bid above the ask for 3 s",
        acts=(Play(when=_for(3, 30), what="crossed", names=_LIQUID, size=3),),
    ),
    "fat_finger": Scenario(
        text="one trade at a tenth of the price, busted 5 s later",
        acts=(Play(when=_for(5, 30), what="fat_finger", names=_LIQUID, size=-0.9),),
    ),
    "bust_and_correct": Scenario(
        text="every 25th trade of a product is busted, every 40th corrected", bust_every=25, correct_every=40
    ),
    "spike": Scenario(
        text="one venue's price is 1.5 % up for 3 s",
        acts=(Shift(when=_for(3, 60), kind=MoveKind.PRICE, names=_AT_ONE_VENUE, size=0.015, ramp_s=0.4),),
    ),
    "volume_surge": Scenario(
        text="eight times the usual trading for 30 s",
        acts=(Shift(when=_for(30, 120), kind=MoveKind.ACTIVITY, names=_LIQUID, size=8.0),),
    ),
    "spoof": Scenario(
        text="large bids behind the touch come for 2 s and go untraded",
        acts=(Play(when=_for(2, 10), what="spoof", names=_LIQUID, size=20),),
    ),
    "fx_freeze": Scenario(
        text="USDINR stands still for 4 min while the market moves on",
        acts=(Play(when=_for(240, 600), what="freeze", names=frozenset({"BBG:USDINR"})),),
    ),
    "duty_step": Scenario(
        text="Indian duty on gold and silver is cut from 15 % to 6 %; MCX gets there limit by limit",
        acts=(Shift(when=When(), kind=MoveKind.DUTY, names=_DUTIABLE, size=0.06),),
    ),
    "roll": Scenario(
        text="trading moves from the front month to the next",
        acts=(
            Shift(when=When(length_s=20), kind=MoveKind.ROLL, names=_LIQUID, size=0.5),
            Shift(when=When(begin_s=40), kind=MoveKind.ROLL, names=_LIQUID, size=0.15),
        ),
    ),
    "venue_down": Scenario(
        text="one venue cuts everybody off and is away for a minute",
        acts=(Wire(when=_for(60, 240), faults={"down": True}, first_of=("cme", "ice")),),
    ),
    "news_shock": Scenario(
        text="a flash headline; oil jumps 3 % within seconds and stays, with four times the trading",
        acts=(
            Flash(
                when=When(begin_s=19.5),
                headline="FLASH: Key export terminal shut after fire, operator says",
                body="Loadings are suspended until further notice, the operator said.",
                commodities=("wti", "brent"),
            ),
            Shift(when=When(), kind=MoveKind.PRICE, names=_OIL, size=0.03, ramp_s=4.0),
            Shift(when=When(length_s=60), kind=MoveKind.ACTIVITY, names=_OIL, size=4.0),
        ),
    ),
}


def parse(names: str | None) -> tuple[str, ...]:
    """Read `spike,fx_freeze`. Raises: UnknownScenario."""
    found = tuple(dict.fromkeys(name.strip() for name in (names or "").split(",") if name.strip()))
    for name in found:
        if name not in SCENARIOS:
            raise UnknownScenario(name)
    return found


@dataclass(frozen=True, slots=True)
class Script:
    """Scenarios as one simulator plays them, from its start on, at the venues it serves."""

    names: tuple[str, ...] = ()
    start_ns: int = 0
    venues: tuple[str, ...] = ()
    acts: tuple[tuple[str, Act], ...] = field(init=False)
    """With the name of the scenario each belongs to."""

    def __post_init__(self) -> None:
        acts = tuple((name, act) for name in self.names for act in SCENARIOS[name].acts)
        object.__setattr__(self, "acts", acts)

    @property
    def bust_every(self) -> int:
        return max((SCENARIOS[name].bust_every for name in self.names), default=0)

    @property
    def correct_every(self) -> int:
        return max((SCENARIOS[name].correct_every for name in self.names), default=0)

    def moves(self) -> tuple[Move, ...]:
        """Return what the markets of all venues are to be told."""
        return tuple(act.move(self.start_ns) for _, act in self.acts if isinstance(act, Shift))

    def flashes(self) -> list[tuple[int, Flash]]:
        """Return the headlines with their times."""
        found = [act for _, act in self.acts if isinstance(act, Flash)]
        return [(self.start_ns + int(act.when.begin_s * NS_PER_S), act) for act in found]

    def strikes(self, act: Wire, venue: str) -> bool:
        """Say whether an act on the wire is for this venue."""
        if any(name in self.venues for name in act.unless):
            return False
        served: Iterable[str] = (name for name in act.first_of if name in self.venues)
        return not act.first_of or next(iter(served), None) == venue


def listing_of(names: Sequence[str] = ()) -> str:
    """Return the scenarios as a table for people."""
    return "\n".join(f"  {name:<17} {SCENARIOS[name].text}" for name in names or SCENARIOS)
