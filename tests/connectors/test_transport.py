import asyncio

import pytest
import uvloop

from connectors import tcp
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


def test_nothing_is_written_to_a_socket_that_is_gone() -> None:
    """A timer may fall due in the very turn in which the peer closed: what it has to say is then not said."""

    class Talker:
        def to_send(self) -> list[bytes]:
            return [b"a heartbeat"]

        def lost(self) -> str | None:
            return None

        def full(self) -> bool:
            return False

        def on_open(self, now_ns: int) -> None: ...

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        transport, line = await loop.create_connection(
            lambda: tcp._Line(Talker(), lambda: 0),  # type: ignore[arg-type]
            "127.0.0.1",
            port,
        )
        transport.abort()
        await line.closed.wait()
        line.send()
        assert line.failure is None
        server.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
