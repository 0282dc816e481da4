"""Headlines depend on seed and start alone, come in order, and a flash comes when it is due."""

from feeds_simulator.news import FLASH, NewsDesk

T0 = 1_795_000_000_000_000_000
S = 1_000_000_000


def test_the_same_stream_however_it_is_pulled() -> None:
    at_once = NewsDesk(7, T0, ["gold", "cotton"]).pull(T0 + 600 * S)
    desk = NewsDesk(7, T0, ["gold", "cotton"])
    bit_by_bit = [story for second in range(601) for story in desk.pull(T0 + second * S)]
    assert at_once == bit_by_bit
    assert 15 < len(at_once) < 50  # one in 20 s
    assert [story.ts_event for story in at_once] == sorted(story.ts_event for story in at_once)
    assert len({story.story_id for story in at_once}) == len(at_once)
    assert {name for story in at_once for name in story.commodities} == {"gold", "cotton"}
    assert NewsDesk(8, T0, ["gold"]).pull(T0 + 600 * S) != at_once


def test_a_flash_comes_when_it_is_due() -> None:
    desk = NewsDesk(7, T0, ["gold"], every_s=1e6)
    desk.flash(T0 + 5 * S, "Duty cut", "To 6 %", ["gold", "silver"])
    assert desk.next_ns == T0 + 5 * S
    assert desk.pull(T0 + 4 * S) == []
    (story,) = desk.pull(T0 + 5 * S)
    assert (story.headline, story.commodities, story.urgency) == ("Duty cut", ("gold", "silver"), FLASH)
