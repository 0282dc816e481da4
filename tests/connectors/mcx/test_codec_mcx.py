"""Kite's frames: golden vectors from the published layout, what is broken, and any bytes at all."""

import random
import struct
from itertools import pairwise

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.mcx.codec import FULL, QUOTE, Kite, decode_runs, packets_of
from connectors.mcx.packets import Packet, Text
from market.schemas import REJECT_REASONS
from tests.connectors.mcx import wire
from tests.connectors.mcx.fuzz_mcx import fuzz_angel, fuzz_kite, fuzz_session

E9 = 10**9
KITE = Kite()

# By hand from the published layout; the values are those of a share on an Indian morning.
GOLDEN_FULL = bytes.fromhex(
    # token, last price 15790 paise, last size 36, average, volume 12510983, totals of both sides
    "00063801" "00003dae" "00000024" "00003dd9" "00bee707" "000c0f6a" "00085d43"
    # open, high, low, close
    "00003e3a" "00003e3f" "00003d86" "00003dea"
    # last trade 1625461519, open interest, its high and low, stamp 1625461520
    "60e2930f" "00000000" "00000000" "00000000" "60e29310"
    # bids
    "00000240" "00003dae" "0005" "0000" "000004b0" "00003da9" "000c" "0000" "00001a5c" "00003da4" "0022" "0000"
    "00001ae3" "00003d9f" "0020" "0000" "000010de" "00003d9a" "0019" "0000"
    # asks: one, then four that are not there
    "00000172" "00003db3" "0003" "0000" + "00" * 48
)  # fmt: skip


def test_golden_full_packet() -> None:
    assert len(GOLDEN_FULL) == 184
    (packet,) = KITE.decode(wire.frame(GOLDEN_FULL)).packets
    assert packet == Packet(
        token=407_553,
        last_price=157_900_000_000,
        last_size=36 * E9,
        volume=12_510_983 * E9,
        close=158_500_000_000,
        ts_trade=1_625_461_519 * E9,
        ts_event=1_625_461_520 * E9,
        bids=(
            (157_900_000_000, 576 * E9, 5),
            (157_850_000_000, 1_200 * E9, 12),
            (157_800_000_000, 6_748 * E9, 34),
            (157_750_000_000, 6_883 * E9, 32),
            (157_700_000_000, 4_318 * E9, 25),
        ),
        asks=((157_950_000_000, 370 * E9, 3),),
    )


def test_each_length_is_its_own_type_and_order_is_kept() -> None:
    parts = [wire.ltp(), wire.full(volume=7), wire.quote(volume=8), wire.index(), wire.index(stamped=1_625_461_888)]
    decoded = KITE.decode(wire.frame(*parts))
    assert not decoded.broken
    assert [packet.volume for packet in decoded.packets] == [None, 7 * E9, 8 * E9, None, None]
    assert [packet.bids is None for packet in decoded.packets] == [True, False, True, True, True]
    assert decoded.packets[0] == Packet(wire.TOKEN, 149_000 * E9, None, None, None, None, None, None, None)
    assert decoded.packets[2].ts_event is None
    assert decoded.packets[3].last_price == 50 * E9
    assert decoded.packets[3].close == 49 * E9  # an index says high, low, open, close
    assert decoded.packets[4].ts_event == 1_625_461_888 * E9


@pytest.mark.parametrize(
    ("segment", "price"),
    [(7, 123_450_000_000), (1, 123_450_000_000), (3, 1_234_500), (6, 1_234_500_000), (12, 1_234_500_000)],
)
def test_price_divisor_is_the_segments(segment: int, price: int) -> None:
    alone = KITE.decode(wire.frame(wire.ltp(99 << 8 | segment, 12_345))).packets
    among = KITE.decode(wire.frame(wire.ltp(), wire.ltp(99 << 8 | segment, 12_345), wire.ltp())).packets
    assert alone[0].last_price == among[1].last_price == price
    assert among[0].last_price == among[2].last_price == 149_000 * E9


def test_case_28_prices_have_both_signs() -> None:
    (packet,) = KITE.decode(
        wire.frame(wire.full(last=-288_400, bids=[(5, -288_500, 1)], asks=[(5, -288_300, 1)]))
    ).packets
    assert packet.last_price == -2_884 * E9
    assert packet.bids == ((-2_885 * E9, 5 * E9, 1),)
    assert packet.asks == ((-2_883 * E9, 5 * E9, 1),)


def test_case_23_zero_is_absent() -> None:
    (packet,) = KITE.decode(
        wire.frame(wire.full(last=0, size=0, volume=0, close=0, traded=0, stamped=0, bids=[], asks=[]))
    ).packets
    assert packet == Packet(wire.TOKEN, None, None, 0, None, None, None, (), ())
    half = wire.full(bids=[(0, 14_900_000, 1), (5, 14_899_900, 1)], asks=[(5, 0, 1)])
    (packet,) = KITE.decode(wire.frame(half)).packets
    assert packet.bids == ((148_999 * E9, 5 * E9, 1),)
    assert packet.asks == ()


def test_case_22_heartbeat_and_short_frames() -> None:
    for nothing in (b"\0", b"\x07", b"\0\0"):
        decoded = KITE.decode(nothing)
        assert not decoded.packets
        assert not decoded.broken
    for short in (b"", b"\0\1", b"\0\1\0", b"\0\1\0\xb8"):
        decoded = KITE.decode(short)
        assert not decoded.packets
        assert [part.reason for part in decoded.broken] == ["malformed_frame"]


@pytest.mark.parametrize(
    ("frame", "packets", "reason"),
    [
        (wire.frame(wire.full(), wire.full(), count=5), 2, "malformed_frame"),  # fewer than promised
        (wire.frame(wire.full(), wire.full(), count=1), 1, "malformed_frame"),  # more than promised
        (wire.frame(wire.full(), wire.full())[:-1], 1, "malformed_frame"),  # a body cut short
        (wire.frame(wire.full(), bytes(40), wire.full()), 2, "unsupported_message"),  # a length nobody knows
        (wire.frame(wire.full(), b"", wire.full()), 2, "unsupported_message"),
    ],
)
def test_case_22_what_is_broken_is_dropped_and_counted(frame: bytes, packets: int, reason: str) -> None:
    decoded = KITE.decode(frame)
    assert len(decoded.packets) == packets
    assert [part.reason for part in decoded.broken] == [reason]


def test_case_22_texts_are_surfaced() -> None:
    assert KITE.decode(b'{"type":"error","data":"too many"}').texts == [Text("error", "too many")]
    assert KITE.decode(b'{"type":"message","data":"margins rise"}').texts == [Text("message", "margins rise")]
    assert KITE.decode(b'{"type":"order","data":{"id":1}}').texts == [Text("order", '{"id":1}')]
    assert KITE.decode(b'{"other":1}').texts == [Text("other", '{"other":1}')]
    assert [part.reason for part in KITE.decode(b'{"type":').broken] == ["malformed_frame"]


def test_many_packets_decode_as_each_alone() -> None:
    rng = random.Random(7)
    kinds = [wire.full, wire.quote]
    parts = [
        rng.choice(kinds)(
            token=n << 8 | rng.choice((3, 7)), last=rng.randrange(-(2**31), 2**31), volume=rng.randrange(2**32)
        )
        for n in range(500)
    ]
    together = KITE.decode(wire.frame(*parts)).packets
    assert list(together) == [packet for part in parts for packet in KITE.decode(wire.frame(part)).packets]


def test_a_run_is_one_matrix() -> None:
    runs, broken = decode_runs(wire.frame(*[wire.full(volume=n) for n in range(1_000)], wire.quote()))
    assert not broken
    assert [(run.length, run.rows.shape) for run in runs] == [(FULL, (1_000, 46)), (QUOTE, (1, 11))]
    assert runs[0].rows.dtype == np.int64
    assert [packet.volume for packet in packets_of(runs[0])] == [n * E9 for n in range(1_000)]


@given(st.binary(max_size=600))
def test_any_bytes_give_packets_or_a_reason(data: bytes) -> None:
    decoded = KITE.decode(data)
    assert all(part.reason in REJECT_REASONS for part in decoded.broken)


@given(st.integers(0, 400))
def test_a_frame_cut_anywhere_gives_the_packets_before_the_cut(at: int) -> None:
    whole = wire.frame(wire.full(volume=1), wire.quote(volume=2), wire.full(volume=3))
    ends = [2, 188, 234, 420]
    cut = whole[:at]
    decoded = KITE.decode(cut)
    assert [packet.volume for packet in decoded.packets] == [E9, 2 * E9, 3 * E9][: sum(end <= at for end in ends[1:])]
    assert bool(decoded.broken) == (at != 1)


def test_short_fuzz() -> None:
    report = fuzz_kite(inputs=3_000, seed=7)
    assert report["inputs"] == 3_000
    assert report["packets"] > 1_000
    assert report["broken"] > 1_000


def test_short_fuzz_of_angel_and_of_sessions() -> None:
    assert fuzz_angel(inputs=3_000, seed=7)["packets"] > 300
    report = fuzz_session(inputs=4_000, seed=7)
    assert report["rows"] > 300
    assert report["ledger"] > 100


def test_requests_are_of_numbers_in_batches_with_their_mode() -> None:
    requests = [orjson.loads(request) for request in KITE.subscribe(list(range(1_200)))]
    assert [request["a"] for request in requests] == ["subscribe", "mode"] * 3
    assert [request["v"] for request in requests[::2]] == [
        list(range(500)),
        list(range(500, 1_000)),
        list(range(1_000, 1_200)),
    ]
    assert requests[1]["v"] == ["full", list(range(500))]
    assert [orjson.loads(request) for request in KITE.unsubscribe([5])] == [{"a": "unsubscribe", "v": [5]}]
    assert all(first != second for first, second in pairwise(requests))


def test_layout_of_the_test_bytes() -> None:
    assert [len(part) for part in (wire.ltp(), wire.quote(), wire.full(), wire.index(), wire.index(stamped=1))] == [
        8,
        44,
        184,
        28,
        32,
    ]
    assert struct.unpack_from(">I", wire.full(), 60) == (1_795_424_400,)
