"""Headlines of the simulated market: a seeded stream of stories, and flashes that a scenario puts in.

Pure and deterministic: the stream depends on seed, start and commodities alone, never on how it is pulled.

Units: `ts_event` ns UTC by the market clock; `every_s` seconds of market time, on average.
"""

import heapq
import random
from collections.abc import Sequence
from typing import Final, NamedTuple

NS_PER_S: Final = 1_000_000_000
ROUTINE: Final = 0
FLASH: Final = 2

_TEMPLATES: Final = (
    ("{name} traders watch {word} before the {place} open", "{word} set the tone in {name}, desks in {place} said."),
    ("{name} steadies as {word} offset {other}", "Flows in {name} were balanced: {word} against {other}."),
    ("{place} desk: {word} keep {name} in a range", "Dealers in {place} named {word} as the reason."),
    ("Survey: {word} to decide {name} this week", "Most of those asked in {place} named {word}, few {other}."),
)
_WORDS: Final = ("stocks", "freight rates", "the dollar", "import demand", "weather", "fund positions", "refinery runs")
_PLACES: Final = ("Mumbai", "Singapore", "London", "New York", "Chicago")


class Headline(NamedTuple):
    """One story. `commodities` are names of the contract master; urgency 0 routine .. 2 flash."""

    ts_event: int
    story_id: str
    headline: str
    body: str
    commodities: tuple[str, ...]
    urgency: int


class NewsDesk:
    """The stream. `pull` takes what was published up to a time."""

    def __init__(self, seed: int, start_ns: int, commodities: Sequence[str], every_s: float = 20.0) -> None:
        self._draws = random.Random(f"news {seed}")
        self._names, self._every_s = tuple(commodities), every_s
        self._run = f"{start_ns // 1_000_000:x}"  # a later run gives other story ids
        self._number = 0
        self._flashes: list[Headline] = []
        self._next = self._compose(start_ns)

    @property
    def next_ns(self) -> int:
        """When the next story is due."""
        return min(self._next.ts_event, self._flashes[0].ts_event) if self._flashes else self._next.ts_event

    def flash(self, ts_event: int, headline: str, body: str, commodities: Sequence[str]) -> None:
        """Put in a story of the highest urgency."""
        story = Headline(ts_event, f"N{self._run}-F{len(self._flashes) + 1}-{ts_event:x}", headline, body,
                         tuple(commodities), FLASH)  # fmt: skip
        heapq.heappush(self._flashes, story)

    def pull(self, until_ns: int) -> list[Headline]:
        """Return the stories with `ts_event <= until_ns`, in order."""
        stories = []
        while self.next_ns <= until_ns:
            if self._flashes and self._flashes[0].ts_event <= self._next.ts_event:
                stories.append(heapq.heappop(self._flashes))
            else:
                stories.append(self._next)
                self._next = self._compose(self._next.ts_event)
        return stories

    def _compose(self, after_ns: int) -> Headline:
        draws = self._draws
        ts_event = after_ns + 1 + int(draws.expovariate(1 / self._every_s) * NS_PER_S)
        self._number += 1
        name = draws.choice(self._names)
        word, other = draws.sample(_WORDS, 2)
        headline, body = draws.choice(_TEMPLATES)
        words = {"name": name, "word": word, "other": other, "place": draws.choice(_PLACES)}
        text = headline.format_map(words)
        urgency = 1 if draws.random() < 0.1 else ROUTINE
        return Headline(ts_event, f"N{self._run}-{self._number}", text[0].upper() + text[1:],
                        body.format_map(words), (name,), urgency)  # fmt: skip
