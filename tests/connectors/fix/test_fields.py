import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import ConnectorError, DecodeError, ValueRefused
from connectors.fix.fields import LAYOUTS_MAX, Fields
from connectors.fix.values import parse_decimal, parse_time

HEAD = "35={}|49=CME|56=MANDI|34=2|52=20261121-03:23:17|"


def split(text: str, kind: str = "X") -> tuple[object, list[bytes]]:
    return Fields().split((HEAD.format(kind) + text).replace("|", "\x01").encode())


def fault(text: str, kind: str = "X") -> tuple[int, int] | None:
    layout, values = Fields().split((HEAD.format(kind) + text).replace("|", "\x01").encode())
    return layout.check(values)


ENTRY = "279=0|269=0|55=GCZ6|270=1|271=2|"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"262=B|268=2|{ENTRY}{ENTRY}", None),
        (f"262=B|268=1|{ENTRY}9001=own|", None),
        (f"262=B|268=3|{ENTRY}{ENTRY}", (16, 268)),
        (f"262=B|268=1|{ENTRY}{ENTRY}", (16, 268)),
        (f"262=B|268=1|{ENTRY}1999=1|", (0, 1999)),
        (f"262=B|268=1|{ENTRY}11=1|", (2, 11)),
        ("262=B|268=1|269=0|279=0|55=GCZ6|", (15, 269)),
        ("262=B|268=1|279=0|269=0|269=1|", (13, 269)),
        (f"262=B|262=C|268=1|{ENTRY}", (13, 262)),
        (f"262=B|97=Y|268=1|{ENTRY}", (14, 97)),
        ("262=B|", (1, 268)),
        ("262=|268=1|279=0|", (4, 262)),
        ("262=B|268=1|279=0|269=0|454=2|455=A|456=1|455=B|456=1|270=1|", None),
        ("262=B|268=1|279=0|269=0|454=3|455=A|456=1|455=B|456=1|270=1|", (16, 454)),
    ],
)
def test_case_13_faults_of_form(text: str, expected: tuple[int, int] | None) -> None:
    assert fault(text) == expected


def test_header_must_be_whole() -> None:
    layout, values = Fields().split(b"35=0\x0149=CME\x0134=2\x0152=20261121-03:23:17\x01")
    assert layout.check(values) == (1, 56)


def test_data_may_hold_anything() -> None:
    body = (HEAD.format("5") + "354=8|355=a|b=c|1=|58=x|").replace("|", "\x01").encode()
    layout, values = Fields().split(body)
    assert layout.check(values) is None
    assert layout.get(values, 355) == b"a\x01b=c\x011="
    assert layout.get(values, 58) == b"x"


def test_a_value_may_hold_an_equals_sign() -> None:
    layout, values = Fields().split((HEAD.format("5") + "58=a=b|").replace("|", "\x01").encode())
    assert layout.get(values, 58) == b"a=b"


def test_the_same_shape_is_learnt_once_and_shapes_are_bounded() -> None:
    fields = Fields()
    first, _ = fields.split(b"35=0\x0149=CME\x0134=2\x01")
    again, values = fields.split(b"35=0\x0149=ICE\x0134=3\x01")
    assert first is again
    assert values == [b"0", b"ICE", b"3"]
    for tag in range(5000, 5000 + LAYOUTS_MAX + 10):
        fields.split(b"35=0\x01%d=1\x01" % tag)
    assert len(fields._layouts) <= LAYOUTS_MAX


@given(
    st.lists(st.sampled_from([b"35=X", b"268=2", b"279=0", b"=", b"\x01", b"55=", b"95=3", b"96=", b"a", b"269=0\x01"]))
)
def test_any_body_is_fields_or_a_clean_error(parts: list[bytes]) -> None:
    try:
        layout, values = Fields().split(b"".join(parts))
    except DecodeError:
        return
    layout.check(values)


@pytest.mark.parametrize(
    "text", [b"20261121-03:23", b"20261321-03:23:17", b"2026112x-03:23:17", b"20261121-03:23:17.", b""]
)
def test_a_time_that_is_none_is_refused(text: bytes) -> None:
    with pytest.raises(ValueRefused):
        parse_time(text)


def test_case_19_times_of_any_precision_and_a_leap_second() -> None:
    base = parse_time(b"20261121-03:23:17")
    assert base == 1_795_231_397_000_000_000
    assert parse_time(b"20261121-03:23:17.5") - base == 500_000_000
    assert parse_time(b"20261121-03:23:17.123456789") - base == 123_456_789
    assert parse_time(b"20161231-23:59:60") == parse_time(b"20170101-00:00:00")


@given(st.binary(max_size=30))
def test_any_bytes_are_a_value_or_a_clean_error(text: bytes) -> None:
    for parse in (parse_time, parse_decimal):
        with contextlib.suppress(ConnectorError):
            assert isinstance(parse(text), int)
