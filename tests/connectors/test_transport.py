import pytest

from connectors.transport import Backoff


def highest(_low: float, high: float) -> float:
    return high


def test_delays_double_up_to_the_cap() -> None:
    backoff = Backoff(uniform=highest)
    assert [backoff.next_delay_s() for _ in range(9)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0])


def test_many_failures_do_not_overflow() -> None:
    backoff = Backoff(uniform=highest)
    assert max(backoff.next_delay_s() for _ in range(5_000)) == 10.0


def test_jitter_is_full_but_never_a_hot_loop() -> None:
    backoff = Backoff()
    delays = [backoff.next_delay_s() for _ in range(500)]
    assert min(delays) >= 0.1
    assert max(delays) <= 10.0
    assert len({round(delay, 6) for delay in delays[10:]}) > 400


def test_a_penalty_is_a_floor() -> None:
    assert Backoff().next_delay_s(least_s=5.0) == 5.0


def test_a_stable_connection_resets_the_delay() -> None:
    backoff = Backoff(uniform=highest)
    for _ in range(6):
        backoff.next_delay_s()
    backoff.reset()
    assert backoff.next_delay_s() == pytest.approx(0.1)
