"""Prometheus metrics of the dataflows (names: CONTRACTS.md section 6; meanings: docs/metrics.md)."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

ROWS: Final = Counter("mandi_rows_total", "Rows that passed a stage.", ["stage", "venue"])
LATE_ROWS: Final = Counter("mandi_late_rows_total", "Rows that came after the allowed lateness.")
REJECTED_ROWS: Final = Counter("mandi_rejected_rows_total", "Rows refused, by reason.", ["reason"])
GAPS: Final = Counter("mandi_gaps_total", "Holes found in a venue's sequence.", ["venue"])
FEED_EVENTS: Final = Counter("mandi_feed_events_total", "What a feed met that is no plain row.", ["feed", "event"])
FEED_EVENT_NAMES: Final = (
    "conflated", "pending_dropped", "held_dropped",
    "duplicates", "duplicate", "repeated", "stale_packets", "backwards",
    "garbled", "malformed", "unexpected", "unknown_instrument", "refused", "number_gaps",
    "ladder_breaks", "prev_seq_breaks", "rpt_breaks", "crossed_dirty",
    "images_stale", "images_refused", "overdue_images",
    "resync_required", "silences", "losses", "slow_consumer_warnings", "dropped_by_sdk",
    "clock_skew", "over_limit", "rejects_received", "rejects_sent", "requests_rejected", "too_low",
)  # fmt: skip
"""Of the counters of the venues' sessions those of which it matters that they rise."""

WATERMARK_LAG_SECONDS: Final = Gauge(
    "mandi_watermark_lag_seconds", "Market time less the newest event time of the venue.", ["venue"]
)
FEED_LAST_EVENT_SECONDS: Final = Gauge(
    "mandi_feed_last_event_seconds", "Event time of the venue's newest row, Unix seconds of market time.", ["venue"]
)
LOG_LAG_ROWS: Final = Gauge("mandi_log_lag_rows", "Log records not read yet by a consumer.", ["topic", "consumer"])
SINK_FLUSH_SECONDS: Final = Histogram("mandi_sink_flush_seconds", "Time of one store write.", ["sink"])
SINK_ROWS: Final = Counter("mandi_sink_rows_total", "Rows handed to a store.", ["sink"])
LOG_AWAY: Final = Gauge("mandi_log_away", "1 while this process waits for the log's broker.")
LOG_RETRIES: Final = Counter("mandi_log_retries_total", "Attempts to reach the log's broker that failed.")
DISK_FREE: Final = Gauge("mandi_disk_free_bytes", "What can still be written to a disk.", ["place"])
DISK_SIZE: Final = Gauge("mandi_disk_size_bytes", "What can be written to a disk that is empty.", ["place"])
SINK_RETRIES: Final = Counter("mandi_sink_retries_total", "Store writes that were repeated.", ["sink"])
SINK_AWAY: Final = Gauge("mandi_sink_away", "1 while a write waits for its store.", ["sink"])
DUPLICATE_EVENTS: Final = Counter(
    "mandi_duplicate_events_total", "Events of the trading backend that had come before.", ["source"]
)
BACKEND_UP: Final = Gauge("mandi_backend_up", "1 while a source of the trading backend answers.", ["source"])
TRADE_JOINS: Final = Counter(
    "mandi_trade_joins_total", "Prices that were due for an event of the backend, by what became of them.", ["outcome"]
)
ANOMALIES: Final = Counter("mandi_anomalies_total", "Anomalies that have ended, by kind.", ["kind"])
FORECASTS: Final = Counter("mandi_forecasts_total", "Rows of forecasts made.")
FORECAST_COVERAGE: Final = Gauge(
    "mandi_forecast_coverage",
    "How many of the served intervals of late held what came, over all instruments.",
    ["level", "horizon"],
)
FORECAST_SKILL: Final = Gauge(
    "mandi_forecast_skill", "1 - error / naive's error of late, over all instruments.", ["model", "horizon"]
)
BARS: Final = Counter("mandi_bars_total", "Bars published, by what they are.", ["kind"])
CLOCK_SKEW_SECONDS: Final = Gauge(
    "mandi_clock_skew_seconds",
    "How far a venue's stamps are behind receipt (negative: ahead); 0 while right.",
    ["venue"],
)
ARBITRAGE_OPEN: Final = Gauge("mandi_arbitrage_open", "Arbitrage opportunities that are open.", ["commodity"])
INSTRUMENTS: Final = Gauge("mandi_instruments", "Instruments watched, by venue and quality.", ["venue", "quality"])
MARKET_TIME_SECONDS: Final = Gauge("mandi_market_time_seconds", "The market clock of an ingest, Unix seconds.")
UNACCOUNTED_ROWS: Final = Gauge(
    "mandi_unaccounted_rows", "Rows judged that are neither out, late, rejected nor held; 0 while right.", ["consumer"]
)
JUDGED_ROWS: Final = Counter(
    "mandi_judged_rows_total",
    "Rows judged since the start of the process, and what came of them.",
    ["consumer", "outcome"],
)
OUTCOMES: Final = ("rows_in", "rows_out", "late", "rejected")
"""Of judged rows: rows_in = rows_out + late + rejected + those that are held."""

HELD_ROWS: Final = Gauge("mandi_held_rows", "Rows judged of which it is not decided yet what they are.", ["consumer"])
PROCESS_RESTARTS: Final = Counter(
    "mandi_process_restarts_total", "Times the supervisor started a process again.", ["process"]
)
FLOW_REBUILDS: Final = Counter(
    "mandi_flow_rebuilds_total", "Times a flow dropped its state and began at the beginning of the log.", ["flow"]
)
WEBHOOKS: Final = Counter(
    "mandi_webhooks_total", "Webhook messages, by receiver and what became of them.", ["endpoint", "outcome"]
)
