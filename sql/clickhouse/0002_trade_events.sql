-- Events of the trading backend. The five columns after ts_recv are null until the market was joined to the event;
-- as_known_at says up to when it was. Rows are replaced by later ones, so the contract's name is a view, as of gaps.

CREATE TABLE IF NOT EXISTS market.trade_events_log (
    event_id String CODEC(ZSTD(1)),
    event_type LowCardinality(String),
    trade_id String CODEC(ZSTD(1)),
    user_id LowCardinality(String),
    instrument LowCardinality(String),
    side Int8,
    quantity Decimal(18, 9) CODEC(ZSTD(1)),
    price Decimal(18, 9) CODEC(ZSTD(1)),
    ts_event DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    ts_recv DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    arrival_price Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    slippage Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    markout_1m Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    markout_5m Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    markout_30m Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    as_known_at Nullable(DateTime64(9, 'UTC')) CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY event_id;

CREATE OR REPLACE VIEW market.trade_events AS SELECT * FROM market.trade_events_log FINAL;
