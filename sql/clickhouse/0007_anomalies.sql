-- Anomalies. A row is replaced by a later one of its id (as more is known of it, and when it ends), so the contract's
-- name is a view, as of gaps. `score`, `value` and `expected` by kind; `detail` is JSON.

CREATE TABLE IF NOT EXISTS market.anomalies_log (
    anomaly_id String CODEC(ZSTD(1)),
    venue LowCardinality(String),
    instrument LowCardinality(String),
    ts_event DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    ts_end Nullable(DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    kind LowCardinality(String),
    severity LowCardinality(String),
    score Decimal(18, 9) CODEC(ZSTD(1)),
    value Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    expected Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    witness LowCardinality(String),
    detail String CODEC(ZSTD(1)),
    as_known_at DateTime64(9, 'UTC') CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY anomaly_id;

CREATE OR REPLACE VIEW market.anomalies AS SELECT * FROM market.anomalies_log FINAL;
