"""Webhooks: signed as the standard says, repeated, given up, and never sent to an address that is not public."""

import base64
import ipaddress
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from sinks.addresses import AddressRefused, allowed_address
from sinks.errors import StoreUnavailable
from sinks.webhooks import ATTEMPTS, Courier, Endpoint, Message, endpoint_of, key_of, signature
from tests.sinks.webhook_receiver import WebhookReceiver

OLD, NEW, OTHER = b"o" * 24, b"n" * 32, b"x" * 32
LOOPBACK = [ipaddress.ip_network("127.0.0.0/8")]
MESSAGE = Message(message_id="msg_1", topic="market.anomalies", body=b'{"type":"market.anomalies"}')


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    found = WebhookReceiver(NEW)
    yield found
    found.close()


def courier(url: str, *keys: bytes, **changes: Any) -> Courier:
    endpoint = Endpoint(name="desk", url=url, keys=keys or (NEW,), topics=("market.anomalies",))
    found = Courier(endpoint=endpoint, stop=threading.Event(), allow=LOOPBACK, first_s=0.001, last_s=0.002)
    return replace(found, **changes)


def test_the_signature_is_that_of_the_standards_own_example() -> None:
    # From the standard's reference libraries: their tests sign this.
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    found = signature([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_while_keys_change_a_receiver_may_have_the_old_or_the_new_one(receiver: WebhookReceiver) -> None:
    assert courier(receiver.url, OLD, NEW).deliver(MESSAGE) is None
    assert courier(receiver.url, NEW, OTHER).deliver(MESSAGE) is None
    assert receiver.taken == [("msg_1", MESSAGE.body)] * 2
    dead = courier(receiver.url, OTHER).deliver(MESSAGE)
    assert dead is not None
    assert dead.reason == "HTTP 401"


def test_a_failed_attempt_is_repeated_under_the_same_id(receiver: WebhookReceiver) -> None:
    told: list[tuple[str, str]] = []
    receiver.answers.extend([(500, {}), (429, {"Retry-After": "3600"}), (503, {})])
    sender = courier(receiver.url, on_retry=lambda name, reason, wait_s: told.append((name, f"{reason} {wait_s <= 1}")))
    assert sender.deliver(MESSAGE) is None
    assert receiver.attempts == [("msg_1", 500), ("msg_1", 429), ("msg_1", 503), ("msg_1", 200)]
    assert told == [("desk", "HTTP 500 True"), ("desk", "HTTP 429 True"), ("desk", "HTTP 503 True")]


def test_what_is_given_up_says_so_and_the_next_gets_one_attempt(receiver: WebhookReceiver) -> None:
    receiver.answers.extend([(500, {})] * (ATTEMPTS + 1))
    sender = courier(receiver.url)
    dead = sender.deliver(MESSAGE)
    assert dead is not None
    assert (dead.endpoint, dead.message, dead.reason, dead.attempts) == ("desk", MESSAGE, "HTTP 500", ATTEMPTS)
    second = sender.deliver(replace(MESSAGE, message_id="msg_2"))
    assert second is not None
    assert second.attempts == 1
    assert sender.deliver(replace(MESSAGE, message_id="msg_3")) is None
    receiver.answers.append((500, {}))
    assert sender.deliver(replace(MESSAGE, message_id="msg_4")) is None, "it is back, and gets its attempts again"


def test_a_receiver_that_is_gone_is_left_alone(receiver: WebhookReceiver) -> None:
    receiver.answers.append((410, {}))
    sender = courier(receiver.url)
    assert [sender.deliver(MESSAGE) is None for _ in range(3)] == [False] * 3
    assert receiver.attempts == [("msg_1", 410)]


def test_a_redirect_is_not_followed(receiver: WebhookReceiver) -> None:
    receiver.answers.append((302, {"Location": receiver.url}))
    dead = courier(receiver.url).deliver(MESSAGE)
    assert dead is not None
    assert (dead.reason, dead.attempts) == ("HTTP 302", 1)
    assert len(receiver.attempts) == 1


def test_told_to_stop_nothing_is_given_up(receiver: WebhookReceiver) -> None:
    receiver.answers.append((500, {}))
    sender = courier(receiver.url)
    sender.stop.set()
    with pytest.raises(StoreUnavailable, match="HTTP 500"):
        sender.deliver(MESSAGE)
    assert len(receiver.attempts) == 1


def test_nobody_there_is_a_failure_like_any_other() -> None:
    free = WebhookReceiver(NEW)
    free.close()
    dead = courier(free.url).deliver(MESSAGE)
    assert dead is not None
    assert dead.attempts == ATTEMPTS
    assert "ConnectionRefused" in dead.reason


INTERNAL = [
    *("127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.9.9", "192.168.1.1", "100.64.0.1"),
    *("169.254.169.254", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1"),
    *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::"),
]


@pytest.mark.parametrize("address", INTERNAL)
def test_an_internal_address_is_refused(address: str) -> None:
    with pytest.raises(AddressRefused, match="not a public address"):
        allowed_address("hooks.example", 443, [], lambda *_: [address])


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e"])
def test_a_public_address_is_not(address: str) -> None:
    assert allowed_address("hooks.example", 443, [], lambda *_: [address]) == address


@pytest.mark.parametrize("spelling", ["2130706433", "0x7f.1", "0177.0.0.1", "localhost"])
def test_an_address_spelled_otherwise_is_refused_too(receiver: WebhookReceiver, spelling: str) -> None:
    url = receiver.url.replace("127.0.0.1", spelling)
    dead = courier(url, allow=[]).deliver(MESSAGE)
    assert dead is not None
    assert not receiver.attempts


def test_one_internal_address_among_several_refuses_the_name() -> None:
    with pytest.raises(AddressRefused):
        allowed_address("hooks.example", 443, [], lambda *_: ["93.184.215.14", "10.0.0.1"])


def test_every_attempt_looks_again_and_goes_where_it_looked(receiver: WebhookReceiver) -> None:
    answers = iter([["127.0.0.1"], ["127.0.0.1"], ["10.0.0.1"]])
    looked: list[str] = []

    def look_up(host: str, _port: int) -> list[str]:
        looked.append(host)
        return next(answers)

    url = receiver.url.replace("127.0.0.1", "no-such-name.invalid")  # so nothing else resolves it
    sender = courier(url, look_up=look_up)
    receiver.answers.append((500, {}))
    assert sender.deliver(MESSAGE) is None
    dead = sender.deliver(MESSAGE)
    assert dead is not None
    assert "10.0.0.1" in dead.reason
    assert dead.attempts == 1
    assert looked == ["no-such-name.invalid"] * 3


KEY = "whsec_" + base64.b64encode(NEW).decode()
GOOD = {"url": "https://hooks.example/x", "keys": [KEY], "topics": ["market.anomalies"]}


def test_an_endpoint_of_the_settings() -> None:
    found = endpoint_of("desk", GOOD, [])
    assert found == Endpoint(name="desk", url="https://hooks.example/x", keys=(NEW,), topics=("market.anomalies",))
    assert KEY not in repr(found)
    assert "nnn" not in repr(found)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"url": "http://hooks.example/x"}, "https"),
        ({"url": "https://me:secret@hooks.example/"}, "no user"),
        ({"url": "https://hooks.example:22/"}, "port 443"),
        ({"url": "https:///x"}, "host"),
        ({"keys": []}, "at least one"),
        ({"keys": ["whsec_c2hvcnQ="]}, "24 to 64"),
        ({"keys": ["not base64!"]}, "base64"),
        ({"topics": []}, "at least one"),
        ({"colour": "red"}, "no colour"),
    ],
)
def test_an_endpoint_that_cannot_be_is_refused_with_its_name(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=rf"^webhook desk: .*{says}"):
        endpoint_of("desk", {**GOOD, **change}, [])
