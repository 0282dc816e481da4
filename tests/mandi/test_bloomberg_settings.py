"""Bloomberg by settings: an address makes it a venue, the SDK is imported by name, and what is wrong is said."""

from pathlib import Path

import pytest

from mandi.errors import UsageError
from mandi.feeds import bloomberg_address, configured, open_feeds
from mandi.settings import Settings, load


def settings(tmp_path: Path, **environment: str) -> Settings:
    return load(tmp_path, environment)


def test_an_address_makes_it_a_venue(tmp_path: Path) -> None:
    assert "bloomberg" not in configured(settings(tmp_path))
    found = settings(tmp_path, MANDI_BLOOMBERG="10.0.0.7:8195")
    assert "bloomberg" in configured(found)
    assert bloomberg_address(found) == ("10.0.0.7", 8195)
    assert bloomberg_address(settings(tmp_path)) == ("127.0.0.1", 8194)


@pytest.mark.parametrize("address", ["8194", "host:", ":8194", "host:port", "host:0", "host:70000"])
def test_no_address(tmp_path: Path, address: str) -> None:
    with pytest.raises(UsageError, match="host:port"):
        settings(tmp_path, MANDI_BLOOMBERG=address)


def test_a_feed_is_made_with_the_sdk_that_is_named(tmp_path: Path) -> None:
    feed = open_feeds(settings(tmp_path), ["bloomberg"])["bloomberg"](lambda: 1_795_000_000_000_000_000, None)
    assert feed.venue == "bloomberg"
    with pytest.raises(UsageError, match="'blpapi_of_nobody' cannot be imported"):
        open_feeds(settings(tmp_path, MANDI_BLOOMBERG_SDK="blpapi_of_nobody"), ["bloomberg"])
