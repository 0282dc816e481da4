"""How writes are repeated while a store is away."""

import threading
from collections.abc import Sequence

import pytest

from sinks.base import Retry, RetryingSink, Rows, WriteResult, delay_s
from sinks.errors import StoreRejected, StoreUnavailable

DONE = WriteResult(rows_in={}, rows_written={}, seconds=0.0)


class Flaky:
    """A sink whose writes end as told."""

    name = "flaky"

    def __init__(self, outcomes: Sequence[Exception | WriteResult]) -> None:
        self._outcomes = list(outcomes)

    def write(self, rows: Rows) -> WriteResult:  # noqa: ARG002
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def close(self) -> None: ...


def away() -> StoreUnavailable:
    return StoreUnavailable("flaky", "away")


def test_a_write_is_repeated_until_the_store_is_back() -> None:
    seen: list[int] = []
    retry = Retry(on_retry=lambda _error, attempt, _wait: seen.append(attempt), first_s=0.0)
    sink = RetryingSink(Flaky([away(), away(), DONE]), retry)
    assert sink.write({}) is DONE
    assert seen == [1, 2]


def test_what_a_store_needs_first_is_done_once_when_it_is_there() -> None:
    prepared = Flaky([away(), DONE])
    sink = RetryingSink(Flaky([away(), DONE, DONE]), Retry(first_s=0.0), lambda: prepared.write({}))
    assert [sink.write({}), sink.write({})] == [DONE, DONE]  # a third `prepare` would have no outcome left


def test_a_refused_write_is_not_repeated() -> None:
    with pytest.raises(StoreRejected):
        RetryingSink(Flaky([StoreRejected("flaky", "no"), DONE])).write({})


def test_stop_ends_the_waiting() -> None:
    stop = threading.Event()
    sink = RetryingSink(Flaky([away(), DONE]), Retry(stop=stop, on_retry=lambda *_: stop.set(), first_s=30.0))
    with pytest.raises(StoreUnavailable):
        sink.write({})


def test_delays_double_up_to_the_cap_with_half_of_them_random() -> None:
    for attempt, ceiling in ((1, 0.05), (2, 0.1), (5, 0.8), (7, 3.2), (11, 4.0), (5000, 4.0)):
        delays = {delay_s(attempt) for _ in range(200)}
        assert ceiling / 2 <= min(delays) <= max(delays) <= ceiling
        assert len(delays) > 100
