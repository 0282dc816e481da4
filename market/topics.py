"""Names of the log's topics, and which partition each producer owns (one writer per partition)."""

from typing import Final

from market.records import TopicPartition

PRICES_PATTERN: Final = "market.prices.*"
BARS: Final = "market.bars"
STATUS: Final = "market.status"
BOOKS: Final = "market.books"
LATE: Final = "market.late"
REJECTED: Final = "market.rejected"
ANOMALIES: Final = "market.anomalies"
FORECASTS: Final = "market.forecasts"
FORECAST_STEPS: Final = "market.forecast.steps"
"""What forecasts are made from, in one order that every rebuild repeats: bars with their books, and fits."""
FIT_REQUESTS: Final = "market.forecast.requests"
FITS: Final = "market.forecast.fits"
NEWS: Final = "market.news.alerts"
ARBITRAGE: Final = "market.arbitrage"
TRADING_EVENTS: Final = "trading.events"
"""One JSON record an event of the trading backend (market/trade_events.py), keyed by trade."""
USER_TRADES: Final = "user.trades"
"""Those events with the market joined to them, version by version (market/trade_join.py)."""
WEBHOOKS_DEAD: Final = "market.webhooks.dead"
"""One JSON record a webhook message that was given up, keyed by receiver."""
INGEST_POSITIONS: Final = "ingest.positions"
"""Once an epoch of an ingest: how far every channel is on disk. What resume reads."""

# A topic with several producers has a partition for each, so that a lock per partition makes one writer.
FROM_INGEST: Final = 0
FROM_ANALYTICS: Final = 1
FROM_BACKEND: Final = 2


FX_COMMODITY: Final = "usdinr"
FX_KIND: Final = "fx"
"""Kind of the exchange rate's ticks among those of a commodity that is compared across currencies."""


def prices(commodity: str) -> TopicPartition:
    return TopicPartition(f"market.prices.{commodity}", FROM_INGEST)


def json_mirror(commodity: str) -> str:
    """The topic of a commodity's ticks as JSON; only `mandi run mirror` writes it, and nobody here reads it."""
    return f"market.json.{commodity}"


def commodity_of(topic: str) -> str:
    return topic.removeprefix("market.prices.")
