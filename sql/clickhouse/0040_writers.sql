-- The sessions that sinks insert through (sinks/clickhouse_fence.py), a row each, and a newer one once it is shut.
-- A row that is forgotten too early would leave its session open unseen, so only shut ones grow old. One that comes back when the
-- newer row went first does no harm: it is shut again.

CREATE TABLE IF NOT EXISTS market.writers (
    session String,
    shut UInt8,
    written_at DateTime DEFAULT now()
)
ENGINE = ReplacingMergeTree(shut)
ORDER BY session
TTL written_at + INTERVAL 1 DAY DELETE WHERE shut = 1;
