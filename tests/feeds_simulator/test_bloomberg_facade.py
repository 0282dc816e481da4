"""The facade behaves as the SDK's documentation says (blpapi, python 3.26), over a real socket where it has one."""

import contextlib
import socket
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from bloomberg_server import GOLD, MS, T0, USDINR, Clock, book, options, serving, started, subscribed, trade, until

from feeds_simulator.bloomberg import blpapi
from feeds_simulator.bloomberg.blpapi.event import DeliveryQueue, Message
from feeds_simulator.bloomberg.blpapi.subscriptionlist import parse_topic
from feeds_simulator.bloomberg.server import SimulatorConfig
from feeds_simulator.bloomberg.venue import Entitlements
from feeds_simulator.events import BustEvent

NOTHING = SimulatorConfig(news_every_s=1e9)


class TestNames:
    def test_equal_strings_are_one_name(self) -> None:
        assert blpapi.Name("BID") is blpapi.Name("BID")
        assert blpapi.Name("BID") == "BID"
        assert blpapi.Name("BID") == "BID"
        assert blpapi.Name("BID") != "ASK"
        assert {blpapi.Name("BID"): 1}[blpapi.Name("BID")] == 1

    def test_find(self) -> None:
        assert blpapi.Name.findName("never seen") is None
        assert blpapi.Name("seen") is blpapi.Name.findName("seen")
        assert blpapi.Name.hasName("seen")


class TestElement:
    MESSAGE = Message(
        "MarketDataEvents",
        {
            "MKTDATA_EVENT_TYPE": "QUOTE",
            "BID": 95.6125,
            "BID_SIZE": 3,
            "ASK": None,
            "BID_UPDATE_STAMP_RT": 1_795_000_000_123_456_789,
            "IS_DELAYED_STREAM": False,
            "exceptions": [{"fieldId": "X", "reason": {"category": "BAD_FLD"}}],
            "streamIds": ["1", "2"],
        },
    )

    def test_values_by_type(self) -> None:
        m = self.MESSAGE
        assert m.getElementAsFloat("BID") == 95.6125
        assert m.getElementAsString("BID") == "95.6125"
        assert m.getElementAsInteger("BID_SIZE") == 3
        assert m.getElementAsFloat("BID_SIZE") == 3.0
        assert m.getElementAsBool("IS_DELAYED_STREAM") is False
        assert m.getElementAsDatetime("BID_UPDATE_STAMP_RT") == datetime(2026, 11, 18, 11, 6, 40, 123456, UTC)
        assert m.getElement("BID").datatype() == blpapi.DataType.FLOAT64
        assert m["MKTDATA_EVENT_TYPE"] == blpapi.Name("QUOTE")

    def test_null(self) -> None:
        m = self.MESSAGE
        assert m.hasElement("ASK")
        assert not m.hasElement("ASK", excludeNullElements=True)
        assert m.getElement("ASK").isNull()
        assert m.getElement("ASK").numValues() == 0
        assert m["ASK"] is None
        with pytest.raises(blpapi.IndexOutOfRangeException):
            m.getElementAsFloat("ASK")

    def test_absent(self) -> None:
        assert not self.MESSAGE.hasElement("LAST_PRICE")
        with pytest.raises(blpapi.NotFoundException):
            self.MESSAGE.getElement("LAST_PRICE")
        with pytest.raises(KeyError):
            self.MESSAGE["LAST_PRICE"]

    def test_no_conversion(self) -> None:
        with pytest.raises(blpapi.InvalidConversionException):
            self.MESSAGE.getElementAsDatetime("BID")
        with pytest.raises(blpapi.InvalidConversionException):
            self.MESSAGE.getElementAsInteger("BID")  # 95.6125
        with pytest.raises(blpapi.InvalidConversionException):
            self.MESSAGE.getElement("MKTDATA_EVENT_TYPE").getValueAsFloat()

    def test_arrays_and_sequences(self) -> None:
        exceptions = self.MESSAGE.getElement("exceptions")
        assert exceptions.isArray()
        assert not exceptions.isNull()
        one = exceptions.getValueAsElement(0)
        assert one.isComplexType()
        assert one.getElement("reason").getElementAsString("category") == "BAD_FLD"
        assert [str(value) for value in self.MESSAGE.getElement("streamIds").values()] == ["1", "2"]
        assert len(list(exceptions.values())) == 1
        with pytest.raises(blpapi.UnsupportedOperationException):
            list(self.MESSAGE.getElement("BID").elements())

    def test_to_python(self) -> None:
        found = self.MESSAGE.toPy()
        assert found["exceptions"] == [{"fieldId": "X", "reason": {"category": "BAD_FLD"}}]
        assert found["MKTDATA_EVENT_TYPE"] == "QUOTE"
        assert found["ASK"] is None

    def test_a_name_must_be_a_name(self) -> None:
        with pytest.raises(TypeError):
            self.MESSAGE.hasElement(5)

    def test_text(self) -> None:
        text = str(self.MESSAGE)
        assert "BID = 95.6125" in text
        assert "streamIds[] = {" in text


class TestCorrelationId:
    def test_integers_by_value_objects_by_identity(self) -> None:
        assert blpapi.CorrelationId(7) == blpapi.CorrelationId(7)
        assert blpapi.CorrelationId(7) != blpapi.CorrelationId(8)
        first, second = [1], [1]
        assert blpapi.CorrelationId(first) != blpapi.CorrelationId(second)
        assert blpapi.CorrelationId(first) == blpapi.CorrelationId(first)
        assert blpapi.CorrelationId() == blpapi.CorrelationId()
        assert blpapi.CorrelationId().type() == blpapi.CorrelationId.UNSET_TYPE


class TestSubscriptionList:
    def test_strings(self) -> None:
        entries = blpapi.SubscriptionList()
        entries.add("IBM US Equity", ["BID", "ASK"], {"interval": "2", "delayed": None}, blpapi.CorrelationId(1))
        entries.add("IBM US Equity", options=["a=1", "b"])
        assert entries.topicStringAt(0) == "IBM US Equity?fields=BID,ASK&interval=2&delayed"
        assert entries.topicStringAt(1) == "IBM US Equity?a=1&b"
        with pytest.raises(blpapi.Exception):
            entries.topicStringAt(2)

    @pytest.mark.parametrize(
        ("text", "service", "instrument"),
        [
            ("//blp/mktdata/ticker/GCZ6 Comdty", "//blp/mktdata", "/ticker/GCZ6 Comdty"),
            ("/bbgid/BBG1", "//blp/mktdata", "/bbgid/BBG1"),
            ("USDINR Curncy", "//blp/mktdata", "/ticker/USDINR Curncy"),
            ("//blp/newsheadlines/topic/ALL", "//blp/newsheadlines", "/topic/ALL"),
        ],
    )
    def test_qualifying(self, text: str, service: str, instrument: str) -> None:
        topic = parse_topic(text + "?fields=BID, ASK&interval=1.0", "//blp/mktdata", "/ticker/")
        assert (topic.service, topic.instrument) == (service, instrument)
        assert topic.fields == ("BID", "ASK")
        assert topic.options == {"interval": "1.0"}

    @pytest.mark.parametrize("text", ["", "//blp", "//blp/mktdata", "/ticker/", "?fields=BID"])
    def test_invalid(self, text: str) -> None:
        with pytest.raises(blpapi.InvalidArgumentException):
            parse_topic(text, "//blp/mktdata", "/ticker/")


class TestSession:
    def test_starts_and_stops(self) -> None:
        with serving(NOTHING) as server:
            session = blpapi.Session(options(server.port))
            assert session.start()
            assert until(session, "SessionStarted")[1] == ["SessionConnectionUp", "SessionStarted"]
            with pytest.raises(blpapi.InvalidStateException):
                session.start()
            session.stop()
            assert until(session, "SessionTerminated")[1] == ["SessionConnectionDown", "SessionTerminated"]
            with pytest.raises(blpapi.InvalidStateException):
                session.nextEvent(10)
            assert session.tryNextEvent() is None

    def test_startup_failure(self) -> None:
        with socket.socket() as taken:  # bound, not listening
            taken.bind(("127.0.0.1", 0))
            session = blpapi.Session(options(taken.getsockname()[1], setNumStartAttempts=1))
            assert not session.start()
            message, _ = until(session, "SessionStartupFailure")
            assert message.getElement("reason").getElementAsString("category") == "IO_ERROR"

    def test_a_server_of_another_kind_is_refused(self) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            settings = {"setNumStartAttempts": 1, "setConnectTimeout": 200}
            session = blpapi.Session(options(other.getsockname()[1], **settings))
            assert not session.start()
            assert "did not answer" in str(until(session, "SessionStartupFailure")[0])

    def test_timeout_event(self) -> None:
        with serving(NOTHING) as server, started(server.port) as session:
            until(session, "SessionStarted")
            event = session.nextEvent(1)
            assert event.eventType() == blpapi.Event.TIMEOUT
            assert list(event) == []

    def test_services(self) -> None:
        with serving(NOTHING) as server, started(server.port) as session:
            assert session.openService("//blp/mktdata")
            opened, _ = until(session, "ServiceOpened")
            assert opened.getElementAsString("serviceName") == "//blp/mktdata"
            assert session.getService("//blp/mktdata").name() == "//blp/mktdata"
            assert not session.openService("//blp/nothing")
            until(session, "ServiceOpenFailure")
            with pytest.raises(blpapi.InvalidStateException):
                session.getService("//blp/nothing")

    def test_event_handler_mode(self) -> None:
        seen: list[str] = []
        done = threading.Event()

        def handle(event: blpapi.Event, session: blpapi.Session) -> None:
            seen.extend(str(message.messageType()) for message in event)
            if "SubscriptionStarted" in seen:
                session.stop()  # becomes stopAsync, or it would wait for itself
            if "SessionTerminated" in seen:
                done.set()

        with serving(NOTHING) as server:
            session = blpapi.Session(options(server.port), handle)
            assert session.startAsync()
            with pytest.raises(blpapi.InvalidStateException):
                session.nextEvent(1)
            assert session.tryNextEvent() is None
            while "SessionStarted" not in seen:
                pass
            subscribed(session, "USDINR Curncy")
            assert done.wait(10)
        with pytest.raises(blpapi.InvalidArgumentException):
            blpapi.Session(eventDispatcher=object())

    def test_duplicate_correlation_id(self) -> None:
        with serving(NOTHING) as server, started(server.port) as session:
            subscribed(session, "USDINR Curncy", key=5)
            entries = blpapi.SubscriptionList()
            entries.add("EURUSD Curncy", "BID", "", blpapi.CorrelationId(6))
            entries.add("EURUSD Curncy", "BID", "", blpapi.CorrelationId(5))
            with pytest.raises(blpapi.DuplicateCorrelationIdException):
                session.subscribe(entries)
            assert session.subscriptionStatus(blpapi.CorrelationId(6)) == blpapi.Session.UNSUBSCRIBED
            errors = session.subscribe(entries, mode=blpapi.SubscriptionPreprocessMode.RETURN_INDIVIDUAL_ERRORS)
            assert errors is not None
            assert [(error.correlationId.value(), error.errorCode) for error in errors] == [(5, 2)]
            assert session.subscriptionStatus(blpapi.CorrelationId(6)) != blpapi.Session.UNSUBSCRIBED

    def test_a_generated_correlation_id_is_given_to_the_list(self) -> None:
        with serving(NOTHING) as server, started(server.port) as session:
            entries = blpapi.SubscriptionList()
            entries.add("USDINR Curncy", "BID")
            session.subscribe(entries)
            message, _ = until(session, "SubscriptionStarted")
            assert message.correlationId() == entries.correlationIdAt(0)
            assert entries.correlationIdAt(0).type() == blpapi.CorrelationId.AUTOGEN_TYPE

    def test_cancelled_before_it_started_is_a_failure_and_after_a_termination(self) -> None:
        with serving(NOTHING) as server, started(server.port) as session:
            entries = blpapi.SubscriptionList()
            entries.add("USDINR Curncy", "BID", "", blpapi.CorrelationId(1))
            with session._lock:  # the reading thread cannot deliver the start in between
                session.subscribe(entries)
                session.unsubscribe(entries)
            message, names = until(session, "SubscriptionFailure")
            assert message.getElement("reason").getElementAsString("category") == "CANCELED"
            assert "SubscriptionStarted" not in names
            session.subscribe(entries)  # the correlation id may be used again
            until(session, "SubscriptionStarted")
            session.cancel(blpapi.CorrelationId(1))
            _, names = until(session, "SubscriptionTerminated")
            assert "SubscriptionFailure" not in names

    def test_nothing_of_a_cancelled_subscription_is_delivered(self) -> None:
        with serving(NOTHING) as server, started(server.port) as session:
            correlation = subscribed(session, "USDINR Curncy")
            until(session, "SubscriptionStarted")
            server.happen(book(USDINR, ("95.61", 1), ("95.62", 1)))
            subscribed(session, "EURUSD Curncy", key=2)  # its start comes after the data
            until_started = []
            while not any(m[0] == "SubscriptionStarted" for m in until_started):
                session.cancel(correlation)
                event = session.nextEvent(10_000)
                until_started += [(str(m.messageType()), m.correlationId()) for m in event]
            data = [m for m in until_started if m[0] == "MarketDataEvents"]
            assert data == []


class TestQueue:
    def event(self, key: int) -> blpapi.Event:
        return blpapi.Event(8, [Message("MarketDataEvents", {}, blpapi.CorrelationId(key))])

    def names(self, queue: DeliveryQueue, most: int = 1_000) -> list[str]:
        names: list[str] = []
        while len(names) < most and (event := queue.get(0)) is not None:
            names += [str(message.messageType()) for message in event]
        return names

    def test_warns_and_clears_at_the_water_marks(self) -> None:
        queue = DeliveryQueue(10, 0.75, 0.5)
        for _ in range(8):
            queue.put(self.event(1))
        names = self.names(queue)
        assert names[0] == "SlowConsumerWarning"
        assert names.count("SlowConsumerWarningCleared") == 1
        assert names.index("SlowConsumerWarningCleared") == 5  # 4 left are below 0.5 x 10
        assert names.count("MarketDataEvents") == 8

    def test_drops_when_full_and_says_how_many_of_whom(self) -> None:
        queue = DeliveryQueue(4, 0.75, 0.5)
        for key in (1, 1, 1, 1, 1, 2, 2):
            queue.put(self.event(key))
        queue.put(blpapi.Event(3, [Message("SubscriptionStarted", {}, blpapi.CorrelationId(3))]))  # never dropped
        losses: dict[Any, int] = {}
        while (event := queue.get(0)) is not None:
            for message in event:
                if message.messageType() == "DataLoss":
                    correlation = message.correlationId()
                    assert correlation is not None
                    losses[correlation.value()] = message.getElementAsInteger("numMessagesDropped")
        assert losses == {1: 1, 2: 2}


class TestMarketData:
    def test_image_then_only_what_changed(self) -> None:
        with serving(NOTHING) as server, started(server.port) as session:
            server.happen(book(USDINR, ("95.6100", 3), ("95.6200", 4)))
            correlation = subscribed(session, "USDINR Curncy", "BID,ASK,BID_SIZE,ASK_SIZE,LAST_PRICE")
            started_message, _ = until(session, "SubscriptionStarted")
            assert started_message.correlationId() == correlation
            image, _ = until(session, "MarketDataEvents")
            assert image.recapType() == blpapi.Message.RECAPTYPE_SOLICITED
            assert image.topicName() == "//blp/mktdata/ticker/USDINR Curncy"
            assert image.toPy() == {
                "MKTDATA_EVENT_TYPE": "SUMMARY",
                "MKTDATA_EVENT_SUBTYPE": "INITPAINT",
                "IS_DELAYED_STREAM": False,
                "BID": 95.61,
                "BID_SIZE": 3,
                "ASK": 95.62,
                "ASK_SIZE": 4,
                "LAST_PRICE": None,
            }
            server.happen(book(USDINR, ("95.6125", 3), ("95.6200", 4)))
            change, _ = until(session, "MarketDataEvents")
            assert change.toPy() == {"MKTDATA_EVENT_TYPE": "QUOTE", "MKTDATA_EVENT_SUBTYPE": "BID", "BID": 95.6125}
            server.happen(book(USDINR, None, ("95.6225", 4)))
            change, _ = until(session, "MarketDataEvents")
            assert change.toPy() == {
                "MKTDATA_EVENT_TYPE": "QUOTE",
                "MKTDATA_EVENT_SUBTYPE": "PAIRED",
                "BID": None,
                "BID_SIZE": None,
                "ASK": 95.6225,
            }

    def test_trades(self) -> None:
        with serving(NOTHING) as server, started(server.port) as session:
            subscribed(session, "GCZ6 Comdty", "LAST_PRICE,VOLUME,EVT_TRADE_IDENTIFIER_RT,TRADE_UPDATE_STAMP_RT")
            until(session, "MarketDataEvents")
            server.happen(trade(GOLD, "4150.1", 2, "t1"))
            server.happen(trade(GOLD, "4150.2", 3, "t2"))
            first, second = until(session, "MarketDataEvents")[0], until(session, "MarketDataEvents")[0]
            assert first["MKTDATA_EVENT_TYPE"] == "TRADE"
            assert first["MKTDATA_EVENT_SUBTYPE"] == "NEW"
            assert (first["VOLUME"], second["VOLUME"]) == (2, 5)
            assert second["EVT_TRADE_IDENTIFIER_RT"] == "t2"

    def test_partial_success_and_failures(self) -> None:
        rights = Entitlements(denied=frozenset({"EURUSD Curncy"}), subscriptions=1)
        with serving(SimulatorConfig(news_every_s=1e9, entitlements=rights)) as server, started(server.port) as session:
            subscribed(session, "USDINR Curncy", "BID,NO_SUCH_FIELD", key=1)
            message, _ = until(session, "SubscriptionStarted")
            exception = message.getElement("exceptions").getValueAsElement(0)
            assert exception.getElementAsString("fieldId") == "NO_SUCH_FIELD"
            assert exception.getElement("reason").getElementAsString("category") == "BAD_FLD"
            for topic, fields, category in (
                ("NOTHING Curncy", "BID", "BAD_SEC"),
                ("EURUSD Curncy", "BID", "NOT_AUTHORIZED"),
                ("GCZ6 Comdty", "BID", "LIMIT"),
            ):
                subscribed(session, topic, fields, key=topic)
                failure, _ = until(session, "SubscriptionFailure")
                assert failure.getElement("reason").getElementAsString("category") == category

    def test_interval_conflates(self) -> None:
        clock = Clock()
        with serving(NOTHING, clock) as server, started(server.port) as session:
            subscribed(session, "USDINR Curncy", "BID,ASK", "interval=1.0")
            until(session, "MarketDataEvents")
            for bid in ("95.6100", "95.6125", "95.6150"):
                server.happen(book(USDINR, (bid, 1), ("95.6200", 1)))
            first, _ = until(session, "MarketDataEvents")  # at once, then one a second
            assert first["BID"] == 95.61
            assert first["MKTDATA_EVENT_SUBTYPE"] == "INTRADAY"
            clock.ns += 1_000 * MS
            second, _ = until(session, "MarketDataEvents")
            assert second["BID"] == 95.615

    def test_delayed_stream(self) -> None:
        clock = Clock()
        rights = Entitlements(delayed=frozenset({"GCZ6 Comdty"}), delay_s=900)
        config = SimulatorConfig(news_every_s=1e9, entitlements=rights)
        with serving(config, clock) as server, started(server.port) as session:
            subscribed(session, "GCZ6 Comdty", "BID,BID_UPDATE_STAMP_RT")
            message, _ = until(session, "SubscriptionStarted")
            assert "DELAYED" in message.getElementAsString("reason")
            image, _ = until(session, "MarketDataEvents")
            assert image["IS_DELAYED_STREAM"] is True
            server.happen(book(GOLD, ("4150.1", 1), ("4150.2", 1)))
            clock.ns += 899_000 * MS
            assert session.nextEvent(100).eventType() == blpapi.Event.TIMEOUT
            clock.ns += 1_000 * MS
            change, _ = until(session, "MarketDataEvents")
            assert change["BID"] == 4150.1
            assert change.getElementAsDatetime("BID_UPDATE_STAMP_RT").timestamp() == T0 / 1e9

    def test_streams_go_and_come_back(self) -> None:
        with serving(NOTHING) as server, started(server.port) as session:
            subscribed(session, "USDINR Curncy")
            until(session, "MarketDataEvents")
            server.do(server.simulator.venue.deactivate, "USDINR Curncy")
            until(session, "SubscriptionStreamsDeactivated")
            server.happen(book(USDINR, ("95.61", 1), ("95.62", 1)))
            server.do(server.simulator.venue.activate, "USDINR Curncy")
            until(session, "SubscriptionStreamsActivated")
            image, names = until(session, "MarketDataEvents")
            assert names == ["MarketDataEvents"]
            assert image["BID"] == 95.61
            server.do(server.simulator.venue.terminate, "USDINR Curncy")
            until(session, "SubscriptionTerminated")
            assert session.subscriptionStatus(blpapi.CorrelationId(1)) == blpapi.Session.UNSUBSCRIBED

    def test_resubscribe_changes_the_fields_and_paints(self) -> None:
        with serving(NOTHING) as server, started(server.port) as session:
            server.happen(book(USDINR, ("95.61", 1), ("95.62", 1)))
            subscribed(session, "USDINR Curncy", "BID")
            until(session, "MarketDataEvents")
            entries = blpapi.SubscriptionList()
            entries.add("USDINR Curncy", "ASK", "", blpapi.CorrelationId(1))
            entries.add("EURUSD Curncy", "ASK", "", blpapi.CorrelationId(9))  # not active: ignored
            session.resubscribe(entries, resubscriptionId=42)
            message, _ = until(session, "SubscriptionStarted")
            assert message["resubscriptionId"] == 42
            image, _ = until(session, "MarketDataEvents")
            assert (image.hasElement("BID"), image["ASK"]) == (False, 95.62)

    def test_dropped_on_the_way_is_told(self) -> None:
        with serving(NOTHING) as server, started(server.port) as session:
            subscribed(session, "USDINR Curncy")
            until(session, "MarketDataEvents")
            server.simulator.faults.drop_every = 2
            server.happen(book(USDINR, ("95.61", 1), ("95.62", 1)))
            server.simulator.faults.drop_every = 0
            server.happen(book(USDINR, ("95.63", 1), ("95.64", 1)))
            loss, _ = until(session, "MarketDataEvents")
            assert (loss["MKTDATA_EVENT_TYPE"], loss["MKTDATA_EVENT_SUBTYPE"]) == ("SUMMARY", "DATALOSS")

    def test_what_was_traded_in_a_dropped_event_is_counted_once(self) -> None:
        with serving(NOTHING) as server, started(server.port) as session:
            subscribed(session, "USDINR Curncy", "BID,EVT_TRADE_IDENTIFIER_RT")
            until(session, "MarketDataEvents")
            server.simulator.faults.drop_every = 1
            server.happen(
                trade(USDINR, "95.61", 1, "t1"), trade(USDINR, "95.62", 1, "t2"), book(USDINR, ("95.6", 1), None)
            )
            server.happen(BustEvent(T0, USDINR.symbol, "t1"))  # what tells of the loss is lost with it
            assert server.simulator.lost() == {USDINR.key: 3}
            server.simulator.faults.drop_every = 0
            server.happen(trade(USDINR, "95.63", 1, "t3"))
            assert server.simulator.lost() == {USDINR.key: 3}

    def test_news(self) -> None:
        with serving(NOTHING) as server, started(server.port) as session:
            news = server.simulator.news
            server.do(news.flash, T0, "Duty cut on gold", "To 6 %", ["gold"])
            server.do(lambda: server.simulator.publish([], T0))
            subscribed(session, "//blp/newsheadlines/topic/GOLD", "", key="gold")
            kept, _ = until(session, "NewsHeadline")
            assert kept["HEADLINE"] == "Duty cut on gold"
            assert kept["TICKERS"] == "GCZ6 Comdty"
            assert kept["URGENCY"] == 2
            server.do(news.flash, T0, "Rupee", "steady", ["usdinr"])
            server.do(news.flash, T0, "Gold again", "", ["gold"])
            server.do(lambda: server.simulator.publish([], T0))
            assert until(session, "NewsHeadline")[0]["HEADLINE"] == "Gold again"


class TestConnection:
    def test_restart_on_disconnection(self) -> None:
        with serving(NOTHING) as server, started(server.port, setAutoRestartOnDisconnection=True) as session:
            session.openService("//blp/mktdata")
            subscribed(session, "USDINR Curncy")
            until(session, "MarketDataEvents")
            server.do(lambda: [link.abort() for link in server.simulator._links])
            _, names = until(session, "SubscriptionStreamsActivated")
            assert names == [
                "SessionConnectionDown",
                "SubscriptionStreamsDeactivated",
                "SessionConnectionUp",
                "SubscriptionStreamsActivated",
            ]
            image, _ = until(session, "MarketDataEvents")
            assert image["MKTDATA_EVENT_SUBTYPE"] == "INITPAINT"

    def test_without_restart_the_session_ends(self) -> None:
        with serving(NOTHING) as server, started(server.port) as session:
            subscribed(session, "USDINR Curncy")
            until(session, "MarketDataEvents")
            server.do(lambda: [link.abort() for link in server.simulator._links])
            _, names = until(session, "SessionTerminated")
            assert names[-2:] == ["SubscriptionTerminated", "SessionTerminated"]

    def test_a_half_open_connection_is_noticed(self) -> None:
        settings = {"setDefaultKeepAliveInactivityTime": 50, "setDefaultKeepAliveResponseTimeout": 100}
        with serving(NOTHING) as server, started(server.port, **settings) as session:
            until(session, "SessionStarted")
            assert session.nextEvent(200).eventType() == blpapi.Event.TIMEOUT  # pings are answered
            server.simulator.faults.half_open = True
            down, _ = until(session, "SessionConnectionDown")
            assert "did not answer" in down.getElementAsString("description")

    def test_garbled_frames_end_the_connection(self) -> None:
        with serving(NOTHING) as server, started(server.port) as session:
            subscribed(session, "USDINR Curncy")
            until(session, "MarketDataEvents")
            server.simulator.faults.garble_every = 1
            server.happen(book(USDINR, ("95.61", 1), ("95.62", 1)))
            down, _ = until(session, "SessionConnectionDown")
            assert "not JSON" in down.getElementAsString("description")

    @pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x00\x00\x00\x02[]", b"\x00\x00\x00\x02{}"])
    def test_the_server_refuses_what_is_no_request(self, data: bytes) -> None:
        with serving(NOTHING) as server, socket.create_connection(("127.0.0.1", server.port), 10) as client:
            client.sendall(data)
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(100) == b""
