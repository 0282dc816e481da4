-- Two who say a state of an instrument for the same instant (its feed, and who watches all feeds) do not replace each other:
-- which of them was there last differed from store to store. May be repeated while `status_log` is there: 0031 drops it.

DROP TABLE IF EXISTS market.status;

CREATE TABLE market.status (
    venue LowCardinality(String),
    instrument String,
    ts_event DateTime64(9, 'UTC'),
    quality LowCardinality(String),
    reason String
)
ENGINE = ReplacingMergeTree
ORDER BY (venue, instrument, ts_event, quality, reason);

INSERT INTO market.status SELECT venue, instrument, ts_event, quality, reason FROM market.status_log FINAL;
