"""The dataflows that `mandi run` knows, by name: apart from how they run, so that naming them imports no engine."""

from typing import Final

FLOWS: Final = (
    *("bars", "quality", "book", "anomalies", "arbitrage", "joins", "forecasts", "fits"),
    *("timescale", "clickhouse"),
)
"""Those that run when none is named."""

MIRROR: Final = "mirror"
WEBHOOKS: Final = "webhooks"
NAMED: Final = (MIRROR, WEBHOOKS)
"""Flows that run only when they are named."""
