"""The session of MCX without a socket: what it keeps while its connections end."""

from datetime import date
from typing import Any

import orjson

from connectors.ledger import GAPS_KEPT
from connectors.mcx.codec import Kite
from connectors.mcx.config import McxConfig
from connectors.mcx.instruments import Listing
from connectors.mcx.session import Session
from connectors.ticks import FeedOutput
from market.instruments import InstrumentMaster
from market.schemas import PRICE_SCALE, TRADE
from tests.connectors.mcx import wire

SECOND = 10**9
NOW = 1_795_424_400 * SECOND
SILVER = wire.TOKEN + 256


def session_of_two(output: FeedOutput, resume: dict[str, int | str] | None = None) -> Session:
    session = Session(McxConfig(url="", rest_url="", api_key="", access_token=str), Kite(), output, resume)
    expiry = date(2027, 2, 5)
    contract = InstrumentMaster.load().product("XIMC", "GOLD", expiry)
    assert contract is not None
    names = ((wire.TOKEN, "XIMC:GOLD:202702"), (SILVER, "XIMC:GOLD:202704"))
    session.enlist([Listing(token, key, key, "gold", expiry, contract) for token, key in names], NOW)
    return session


def gaps(output: FeedOutput) -> list[dict[str, Any]]:
    batch = output.gaps.take()
    return [] if batch is None else batch.to_pylist()


def test_connections_lost_again_before_all_images_cost_no_more_each_time() -> None:
    output = FeedOutput()
    session, now = session_of_two(output), NOW
    for _ in range(3 * GAPS_KEPT):
        session.on_open(now)
        session.receive(wire.frame(wire.full(stamped=now // SECOND)), now)  # the other one's image never comes
        session.on_close(1006, now + SECOND, "lost")
        now += 2 * SECOND
    left = orjson.loads(str(session.positions()["gaps"]))
    assert len(left) == GAPS_KEPT
    written = gaps(output)
    superseded = [row for row in written if row["resolution"] == "superseded"]
    assert len(written) == 3 * GAPS_KEPT + len(superseded)
    assert len(superseded) == 2 * GAPS_KEPT
    assert [row["gap_id"] for row in superseded] == [row["gap_id"] for row in written if not row["ts_resolved"]][:200]

    # The next process takes them over and closes them with the images.
    later = session_of_two(output, session.positions())
    later.on_open(now)
    later.receive(wire.frame(wire.full(), wire.full(token=SILVER)), now)
    closed = gaps(output)
    assert [row["gap_id"] for row in closed] == [row["gap_id"] for row in written if not row["ts_resolved"]][200:]
    assert {row["resolution"] for row in closed} == {"snapshot"}
    assert "gaps" not in later.positions()


def test_a_state_that_was_stamped_ahead_costs_no_trade_that_came_since() -> None:
    output = FeedOutput()
    session = session_of_two(output)
    session.on_open(NOW)
    session.receive(wire.frame(wire.full(), wire.full(token=SILVER)), NOW)
    for second, volume in enumerate((110, 120, 130, 140, 150), 1):
        now = NOW // SECOND + second
        ahead = 3_600 if second == 2 else 0
        session.receive(wire.frame(wire.full(volume=volume, size=10, traded=now + ahead, stamped=now)), now * SECOND)
    asked = session.quotes_wanted(NOW + 5 * SECOND)
    quote = Kite().decode(wire.frame(wire.full(volume=150, size=10, traded=now, stamped=now))).packets[0]
    session.quoted(asked, {asked[0]: quote}, NOW + 6 * SECOND)
    rows = [row for _, batch in output.ticks.take() for row in batch.to_pylist() if row["kind"] == TRADE]
    assert [row["size"] // PRICE_SCALE for row in rows] == [10] * 5
    assert [gap["resolution"] for gap in gaps(output)][-1] == "snapshot"
