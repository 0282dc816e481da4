"""Messages of the SDK become what they mean, exactly; any message gives that or a clean error."""

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import pytest
from bloomberg_events import T0, data, status
from fuzz_bloomberg import fuzz
from hypothesis import given
from hypothesis import strategies as st

from connectors.bloomberg import codec
from connectors.bloomberg.codec import Decoder, to_fixed_point, to_ns
from connectors.bloomberg.symbols import instrument_of, security_of
from connectors.errors import DecodeError, ValueRefused
from feeds_simulator.bloomberg import blpapi
from feeds_simulator.bloomberg.blpapi.event import Message
from market.instruments import BadInstrumentKey

DECODER = Decoder(blpapi.Name, blpapi.Exception)


def one(kind: int, message: Message) -> codec.Decoded:
    (decoded,) = DECODER.decode(kind, message, T0)
    return decoded


class ForTwo(Message):
    """A message of two subscriptions, as the SDK gives it with `allowMultipleCorrelatorsPerMsg`."""

    def correlationIds(self) -> list[blpapi.CorrelationId]:  # noqa: N802 - the SDK's name
        return [blpapi.CorrelationId(7), blpapi.CorrelationId(8)]


class TestNumbers:
    @given(st.integers(-(10**15) + 1, 10**15 - 1))
    def test_a_decimal_of_nine_places_comes_back_exactly(self, fixed: int) -> None:
        assert to_fixed_point(float(Decimal(fixed) / 10**9)) == fixed

    @pytest.mark.parametrize(("number", "fixed"), [(1e6, 10**15), (149000.5, 149000500000000), (0.1 + 0.2, 300000000)])
    def test_examples(self, number: float, fixed: int) -> None:
        assert to_fixed_point(number) == fixed

    @pytest.mark.parametrize(
        ("number", "reason"),
        [
            (math.nan, "price_not_finite"),
            (math.inf, "price_not_finite"),
            (-1e9, "out_of_range"),
            (1e300, "out_of_range"),
        ],
    )
    def test_refused(self, number: float, reason: str) -> None:
        with pytest.raises(ValueRefused) as refused:
            to_fixed_point(number)
        assert refused.value.reason == reason


class TestTimes:
    def test_microseconds_exactly(self) -> None:
        moment = datetime(2026, 11, 18, 11, 6, 40, 123456, UTC)
        assert to_ns(moment, 0) == 1_795_000_000_123_456_000
        assert to_ns(moment.astimezone(timezone(timedelta(hours=5, minutes=30))), 0) == 1_795_000_000_123_456_000
        assert to_ns(moment.replace(tzinfo=None), 0) == 1_795_000_000_123_456_000

    def test_a_time_alone_is_the_nearest_one(self) -> None:
        midnight = int(datetime(2026, 11, 18, tzinfo=UTC).timestamp()) * 10**9
        assert to_ns(time(23, 59, 59), midnight + 10**9) == midnight - 10**9
        assert to_ns(time(0, 0, 1), midnight - 10**9) == midnight + 10**9

    def test_no_time(self) -> None:
        with pytest.raises(ValueRefused):
            to_ns(date(2026, 11, 18), T0)
        for year in (1969, 2263, 9999):
            with pytest.raises(ValueRefused):
                to_ns(datetime(year, 6, 1, tzinfo=UTC), T0)


class TestSymbols:
    @pytest.mark.parametrize(
        ("key", "security"),
        [("BBG:USDINR:SPOT", "USDINR Curncy"), ("BBG:GC:202612", "GCZ6 Comdty"), ("BBG:W:202703", "W H7 Comdty")],
    )
    def test_there_and_back(self, key: str, security: str) -> None:
        assert security_of(key) == security
        assert instrument_of(security, date(2026, 11, 21)) == key

    @pytest.mark.parametrize(
        ("on", "expiry"), [("2026-11-21", "202612"), ("2027-06-01", "202612"), ("2028-01-01", "203612")]
    )
    def test_the_date_decides_the_decade(self, on: str, expiry: str) -> None:
        assert instrument_of("GCZ6 Comdty", date.fromisoformat(on)) == f"BBG:GC:{expiry}"

    def test_two_digits_and_sources(self) -> None:
        assert instrument_of("GCZ26 Comdty", date(2026, 11, 21)) == "BBG:GC:202612"
        assert instrument_of("eurusd bgn curncy", date(2026, 11, 21)) == "BBG:EURUSD:SPOT"

    @pytest.mark.parametrize("security", ["", "IBM US Equity", "GC1 Comdty", "USDINR", "GCA6 Comdty"])
    def test_no_instrument_of_ours(self, security: str) -> None:
        assert instrument_of(security, date(2026, 11, 21)) is None

    def test_only_of_bloomberg(self) -> None:
        with pytest.raises(BadInstrumentKey):
            security_of("XCEC:GC:202612")


class TestMessages:
    def test_an_update_holds_what_is_present_and_null_is_not_absent(self) -> None:
        message = data(7, "QUOTE", "BID", BID=95.6125, BID_SIZE=3, ASK=None, BID_UPDATE_STAMP_RT=T0, UNASKED=5)
        assert one(8, message) == codec.Update(
            7,
            "QUOTE",
            "BID",
            {"BID": 95_612_500_000, "BID_SIZE": 3 * 10**9, "ASK": None, "BID_UPDATE_STAMP_RT": T0},
            None,
        )

    def test_a_value_that_cannot_be_used_is_named(self) -> None:
        update = one(8, data(7, "QUOTE", "BID", BID=1e300, ASK=95.62))
        assert isinstance(update, codec.Update)
        assert update.values == {"ASK": 95_620_000_000}
        assert [(refusal.field, refusal.reason) for refusal in update.refused] == [("BID", "out_of_range")]

    def test_started_with_exceptions(self) -> None:
        reason = {"category": "BAD_FLD", "description": "unknown field", "source": "x", "errorCode": 9}
        message = status(7, "SubscriptionStarted", exceptions=[{"fieldId": "X", "reason": reason}], streamIds=["1"])
        assert one(3, message) == codec.Started(7, (("X", "BAD_FLD", "unknown field"),), False)
        delayed = status(7, "SubscriptionStarted", exceptions=[], reason="Delayed data only")
        assert one(3, delayed) == codec.Started(7, (), True)

    @pytest.mark.parametrize(("name", "started"), [("SubscriptionFailure", False), ("SubscriptionTerminated", True)])
    def test_ended(self, name: str, started: bool) -> None:
        message = status(7, name, reason={"category": "BAD_SEC", "description": "unknown security"})
        assert one(3, message) == codec.Ended(7, started, "BAD_SEC", "unknown security")

    def test_streams(self) -> None:
        assert one(3, status(7, "SubscriptionStreamsActivated", streams=[])) == codec.Streams(7, True, "")
        down = status(7, "SubscriptionStreamsDeactivated", streams=[], reason="no source")
        assert one(3, down) == codec.Streams(7, False, "no source")

    def test_admin(self) -> None:
        assert one(1, Message("SlowConsumerWarning", {})) == codec.Slow(True, 0)
        assert one(1, Message("SlowConsumerWarningCleared", {"eventsDropped": 12})) == codec.Slow(False, 12)
        assert one(1, status(7, "DataLoss", numMessagesDropped=3)) == codec.Lost(7, 3)
        assert one(1, Message("DataLoss", {"numMessagesDropped": 3})) == codec.Lost(None, 3)

    def test_session(self) -> None:
        down = Message("SessionConnectionDown", {"server": "a:1", "description": "gone"})
        assert one(2, down) == codec.Notice("SessionConnectionDown", "gone")
        failed = Message("ServiceOpenFailure", {"reason": {"category": "X", "description": "no service"}})
        assert one(9, failed) == codec.Notice("ServiceOpenFailure", "no service")

    def test_what_is_none_of_our_business(self) -> None:
        assert DECODER.decode(11, Message("AuthorizationSuccess", {}), T0) == []
        assert DECODER.decode(3, status(7, "SubscriptionSomething"), T0) == []

    def test_a_message_for_two_subscriptions_counts_for_both(self) -> None:
        message = ForTwo("MarketDataEvents", {"MKTDATA_EVENT_TYPE": "QUOTE", "BID": 95.0})
        assert [update.key for update in DECODER.decode(8, message, T0) if isinstance(update, codec.Update)] == [7, 8]

    @pytest.mark.parametrize(
        "message",
        [
            Message("MarketDataEvents", {"BID": 1.0}, blpapi.CorrelationId(7)),
            Message("MarketDataEvents", {"MKTDATA_EVENT_TYPE": "QUOTE"}),
            Message("MarketDataEvents", {"MKTDATA_EVENT_TYPE": "QUOTE"}, blpapi.CorrelationId("not ours")),
            Message("NewsHeadline", {"HEADLINE": "x"}, blpapi.CorrelationId(0)),
        ],
    )
    def test_damaged(self, message: Message) -> None:
        with pytest.raises(DecodeError):
            DECODER.decode(8, message, T0)

    def test_a_story(self) -> None:
        message = Message(
            "NewsHeadline",
            {
                "STORY_ID": "N1",
                "STORY_TIME_RT": T0,
                "HEADLINE": "Duty cut",
                "BODY": "To 6 %",
                "TOPIC_CODES": "gold, silver",
                "TICKERS": "GCZ6 Comdty,IBM US Equity",
                "URGENCY": 2,
            },
            blpapi.CorrelationId(0),
        )
        expected = ("N1", T0, "Duty cut", "To 6 %", ("gold", "silver"), ("GCZ6 Comdty", "IBM US Equity"), 2)
        assert one(8, message) == expected


def test_any_message_is_read_or_refused() -> None:
    assert fuzz(4_000, seed=3) > 0
