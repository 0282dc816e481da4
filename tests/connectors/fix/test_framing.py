import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.fix.framing import Framer, checksum
from tests.connectors.fix.wire import fix, seal

VECTOR = b"8=FIX.4.4|9=63|35=A|34=1|49=ISLD|52=00000000-00:00:00.000|56=TW44|98=0|108=30|10=014|".replace(b"|", b"\x01")
STREAM = [
    fix("35=0|34=2"),
    fix("35=X|34=3|262=B|268=1|279=0|269=0|55=GCZ6|270=4150.1|271=3"),
    seal(b"35=3\x0149=CME\x0156=MANDI\x0134=4\x0152=20261121-03:23:17\x0145=1\x01354=7\x01355=a\x018=FIX\x01"),
    fix("35=W|34=5|55=GCZ6|262=B|268=2|269=0|270=1|271=1|269=1|270=2|271=1"),
]


def whole(data: bytes) -> tuple[list[bytes], list[object]]:
    framer = Framer()
    return [body for _, body in framer.feed(data)], list(framer.garbled)


def cut(data: bytes, *places: int) -> tuple[list[bytes], list[object]]:
    framer, bodies = Framer(), []
    edges = [0, *places, len(data)]
    for first, last in pairwise(edges):
        bodies += [body for _, body in framer.feed(data[first:last])]
    return bodies, list(framer.garbled)


def test_the_published_vector_is_a_message() -> None:
    assert whole(VECTOR)[0] == [VECTOR[15:-7]]


@given(st.binary(max_size=2_000))
def test_checksum_is_the_sum_of_bytes(data: bytes) -> None:
    assert checksum(data) == sum(data) % 256


def test_case_08_every_split_gives_the_same_messages() -> None:
    data = b"".join(STREAM)
    expected = whole(data)
    assert len(expected[0]) == len(STREAM)
    for place in range(len(data) + 1):
        assert cut(data, place) == expected
    assert cut(data, *range(1, len(data))) == expected


def test_case_08_a_huge_message_in_pieces() -> None:
    message = seal("35=W|49=CME|56=MANDI|34=2|52=20261121-03:23:17|58=" + "x" * 60_000 + "|")
    assert len(cut(message, *range(1, len(message), 997))[0]) == 1


def lie(by: int) -> Callable[[bytes], bytes]:
    return lambda message: re.sub(rb"9=(\d+)", lambda found: b"9=%d" % (int(found[1]) + by), message, count=1)


@pytest.mark.parametrize(
    ("damage", "survivors"),
    [
        pytest.param(lambda m: m[:-4] + b"000" + m[-1:], 3, id="checksum"),
        pytest.param(lie(40), 3, id="body length swallows the next message"),
        pytest.param(lie(90_000), 3, id="body length beyond reason"),
        pytest.param(lie(-7), 3, id="body length short"),
        pytest.param(lambda m: m[: len(m) // 2], 3, id="cut short"),
        pytest.param(lambda m: b"noise" + m, 4, id="noise before"),
        pytest.param(lambda m: m.replace(b"\x0135=X", b"\x0134=3\x0135=X"), 3, id="35 is not third"),
    ],
)
def test_case_07_damage_is_skipped_and_the_next_message_found(damage: Callable[[bytes], bytes], survivors: int) -> None:
    data = STREAM[0] + damage(STREAM[1]) + STREAM[2] + STREAM[3]
    bodies, garbled = whole(data)
    assert len(bodies) == survivors
    assert bodies[-1] == whole(STREAM[3])[0][0]
    assert len(garbled) == 1
    for place in range(len(data)):
        assert cut(data, place) == (bodies, garbled)


@settings(max_examples=200)
@given(
    st.lists(st.sampled_from([*STREAM, b"8=FIX", b"8=FIX.4.4\x019=5\x01", b"\x0110=", b"junk"]), max_size=8), st.data()
)
def test_any_split_of_any_mixture_gives_the_same(parts: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(parts)
    places = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    assert cut(stream, *places) == whole(stream)


@given(st.binary(max_size=300))
def test_any_bytes_are_messages_or_garbled(data: bytes) -> None:
    framer = Framer()
    for _, body in framer.feed(data):
        assert body.startswith(b"35=")
