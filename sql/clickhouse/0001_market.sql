-- The stored market: one table for each row type of market/schemas.py.
--
-- The sink inserts a row only when its natural key is not there yet, so a plain SELECT is exact; the engine
-- ReplacingMergeTree is the second net. Statements are repeatable: two migrations at a time do no harm.

CREATE TABLE IF NOT EXISTS market.trades (
    venue LowCardinality(String),
    instrument LowCardinality(String),
    ts_event DateTime64(9, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    ts_recv Nullable(DateTime64(9, 'UTC')) CODEC(DoubleDelta, ZSTD(1)),
    seq Int64 CODEC(Delta, ZSTD(1)),
    trade_id String CODEC(ZSTD(1)),
    price Nullable(Decimal(18, 9)) CODEC(Delta, ZSTD(1)),
    size Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    side Nullable(Int8) CODEC(ZSTD(1)),
    flags Int32 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(ts_event)
ORDER BY (instrument, ts_event, seq, trade_id);

CREATE TABLE IF NOT EXISTS market.quotes (
    venue LowCardinality(String),
    instrument LowCardinality(String),
    ts_event DateTime64(9, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    ts_recv Nullable(DateTime64(9, 'UTC')) CODEC(DoubleDelta, ZSTD(1)),
    seq Int64 CODEC(Delta, ZSTD(1)),
    bid_price Nullable(Decimal(18, 9)) CODEC(Delta, ZSTD(1)),
    bid_size Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    ask_price Nullable(Decimal(18, 9)) CODEC(Delta, ZSTD(1)),
    ask_size Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    flags Int32 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(ts_event)
ORDER BY (instrument, ts_event, seq);

CREATE TABLE IF NOT EXISTS market.bars (
    venue LowCardinality(String),
    instrument LowCardinality(String),
    interval LowCardinality(String),
    ts_open DateTime64(9, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    ts_close DateTime64(9, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    revision Int32 CODEC(ZSTD(1)),
    final Bool CODEC(ZSTD(1)),
    open Decimal(18, 9) CODEC(Delta, ZSTD(1)),
    high Decimal(18, 9) CODEC(Delta, ZSTD(1)),
    low Decimal(18, 9) CODEC(Delta, ZSTD(1)),
    close Decimal(18, 9) CODEC(Delta, ZSTD(1)),
    volume Decimal(38, 9) CODEC(ZSTD(1)),
    vwap Decimal(18, 9) CODEC(Delta, ZSTD(1)),
    trades Int64 CODEC(ZSTD(1)),
    quality LowCardinality(String),
    as_known_at DateTime64(9, 'UTC') CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(ts_open)
ORDER BY (instrument, interval, ts_open, revision);

CREATE TABLE IF NOT EXISTS market.late (
    kind Int8,
    venue LowCardinality(String),
    instrument Nullable(String),
    ts_event DateTime64(9, 'UTC'),
    ts_recv Nullable(DateTime64(9, 'UTC')),
    seq Nullable(Int64),
    price Nullable(Decimal(18, 9)),
    size Nullable(Decimal(18, 9)),
    side Nullable(Int8),
    trade_id Nullable(String),
    bid_price Nullable(Decimal(18, 9)),
    bid_size Nullable(Decimal(18, 9)),
    ask_price Nullable(Decimal(18, 9)),
    ask_size Nullable(Decimal(18, 9)),
    flags Int32,
    watermark DateTime64(9, 'UTC'),
    source LowCardinality(String),
    source_offset Int64,
    source_row Int64
)
ENGINE = ReplacingMergeTree
ORDER BY (source, source_offset, source_row);

CREATE TABLE IF NOT EXISTS market.rejected (
    venue Nullable(String),
    instrument Nullable(String),
    ts_recv Nullable(DateTime64(9, 'UTC')),
    reason LowCardinality(String),
    detail String,
    raw String,
    source LowCardinality(String),
    source_offset Int64,
    source_row Int64
)
ENGINE = ReplacingMergeTree
ORDER BY (source, source_offset, source_row);

-- Rows of these two are replaced by later ones. The versions go to `<name>_log`; the view of the contract's name
-- shows the newest of each key, at every instant, merged or not.

CREATE TABLE IF NOT EXISTS market.gaps_log (
    gap_id String,
    venue LowCardinality(String),
    channel LowCardinality(String),
    seq_from Int64,
    seq_to Int64,
    ts_detected DateTime64(9, 'UTC'),
    ts_resolved Nullable(DateTime64(9, 'UTC')),
    resolution Nullable(String),
    recovered_rows Int64,
    reason String
)
ENGINE = ReplacingMergeTree
ORDER BY gap_id;

CREATE OR REPLACE VIEW market.gaps AS SELECT * FROM market.gaps_log FINAL;

CREATE TABLE IF NOT EXISTS market.status_log (
    venue LowCardinality(String),
    instrument String,
    ts_event DateTime64(9, 'UTC'),
    quality LowCardinality(String),
    reason String
)
ENGINE = ReplacingMergeTree
ORDER BY (venue, instrument, ts_event);

CREATE OR REPLACE VIEW market.status AS SELECT * FROM market.status_log FINAL;

CREATE OR REPLACE VIEW market.bars_latest AS
SELECT
    argMax(b.venue, b.revision) AS venue,
    b.instrument AS instrument,
    b.interval AS interval,
    b.ts_open AS ts_open,
    argMax(b.ts_close, b.revision) AS ts_close,
    max(b.revision) AS revision,
    argMax(b.final, b.revision) AS final,
    argMax(b.open, b.revision) AS open,
    argMax(b.high, b.revision) AS high,
    argMax(b.low, b.revision) AS low,
    argMax(b.close, b.revision) AS close,
    argMax(b.volume, b.revision) AS volume,
    argMax(b.vwap, b.revision) AS vwap,
    argMax(b.trades, b.revision) AS trades,
    argMax(b.quality, b.revision) AS quality,
    argMax(b.as_known_at, b.revision) AS as_known_at
FROM market.bars AS b
GROUP BY b.instrument, b.interval, b.ts_open;
