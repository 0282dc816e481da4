"""Damaged messages of the SDK: each one is rows or a row in `rejected`, and the session goes on.

python tests/connectors/bloomberg/fuzz_bloomberg.py [INPUTS] [SEED]
"""

import random
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[3])]

from bloomberg_events import GOLD, USDINR, Fed, Message, data, event, image, status

VALUES: tuple[Any, ...] = (
    None, 0, -1, 1, 95.61, -95.61, 1e300, 2**63, -(2**63), True, "", "95.61", "x" * 5_000, [], [1], {}, {"a": {}},
    {"category": 5, "description": []}, [{"fieldId": None, "reason": {}}], "HALTED", "TRADE", float("1e-12"),
)  # fmt: skip
SEEDS = (
    (8, image(USDINR)),
    (8, data(GOLD, "TRADE", "NEW", EVT_TRADE_PRICE_RT=4150.1, EVT_TRADE_SIZE_RT=2, EVT_TRADE_IDENTIFIER_RT="t1",
             LAST_PRICE=4150.1, SIZE_LAST_TRADE=2, VOLUME=5, TRADE_UPDATE_STAMP_RT=1_795_000_000_000_000_000)),
    (8, data(GOLD, "TRADE", "CANCEL", EVT_TRADE_IDENTIFIER_RT="t1")),
    (8, data(GOLD, "TRADE", "CORRECTION", EVT_TRADE_IDENTIFIER_RT="t1", EVT_TRADE_PRICE_RT=1.0, EVT_TRADE_SIZE_RT=1)),
    (8, data(USDINR, "SUMMARY", "DATALOSS")),
    (8, Message("NewsHeadline", {"STORY_ID": "N1", "HEADLINE": "x", "URGENCY": 1, "TICKERS": "GCZ6 Comdty"})),
    (3, status(USDINR, "SubscriptionStarted", exceptions=[{"fieldId": "X", "reason": {"category": "C"}}])),
    (3, status(USDINR, "SubscriptionTerminated", reason={"category": "C", "description": "d"})),
    (3, status(GOLD, "SubscriptionStreamsDeactivated", reason="r")),
    (3, status(GOLD, "SubscriptionStreamsActivated", reason="r")),
    (1, Message("DataLoss", {"numMessagesDropped": 3})),
    (1, Message("SlowConsumerWarning", {})),
    (1, Message("SlowConsumerWarningCleared", {"eventsDropped": 3})),
    (2, Message("SessionConnectionDown", {"description": "d"})),
    (2, Message("SessionConnectionUp", {})),
)  # fmt: skip


def damaged(draws: random.Random) -> tuple[int, Message]:
    kind, seed = draws.choice(SEEDS)
    content = dict(seed._content)
    for _ in range(draws.randint(0, 3)):
        name = draws.choice([*content, "BID", "reason", "MKTDATA_EVENT_TYPE"])
        if draws.random() < 0.3:
            content.pop(name, None)
        else:
            content[name] = draws.choice(VALUES)
    if draws.random() < 0.05:
        kind = draws.choice((1, 2, 3, 8, 9, 10, 14))
    correlation = None if draws.random() < 0.03 else seed._correlation
    return kind, Message(seed._name, content, correlation)


def fuzz(inputs: int, seed: int) -> int:
    """Feed damaged messages; return the rows they gave. Every batch must fit its schema."""
    draws, fed, rows = random.Random(seed), Fed().open(), 0
    for number in range(inputs):
        kind, message = damaged(draws)
        fed.now += 1_000
        fed.session.receive(event(kind, message), fed.now)
        if number % 50 == 0:
            fed.session.on_timer(fed.now)
            fed.session.commands()
        if number % 200 == 199:
            rows += len(fed.rows()) + sum(map(len, fed.ledgers().values()))
            fed.session.positions()
            fed.session.on_close(None, fed.now, "round")
            fed.session.on_open(fed.now)
            keys = list(fed.session.watched)
            for key, told in zip(keys, (USDINR, GOLD), strict=True):
                fed.session.watched[told] = fed.session.watched.pop(key)
                fed.session.watched[told].key = told
    return rows


if __name__ == "__main__":
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(f"{total:,} inputs, {fuzz(total, int(sys.argv[2]) if len(sys.argv) > 2 else 1):,} rows")  # noqa: T201
