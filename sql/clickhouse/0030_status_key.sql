-- Two who say a state of an instrument for the same instant (its feed, and who watches all feeds) do not replace each other:
-- which of them was there last differed from store to store. An order cannot be changed, so the rows are in another table now.
-- Each statement may be repeated, also by two at a time. `status_log` stays as it was: nobody reads it any more.

CREATE TABLE IF NOT EXISTS market.status_rows (
    venue LowCardinality(String),
    instrument String,
    ts_event DateTime64(9, 'UTC'),
    quality LowCardinality(String),
    reason String
)
ENGINE = ReplacingMergeTree
ORDER BY (venue, instrument, ts_event, quality, reason);

INSERT INTO market.status_rows
SELECT venue, instrument, ts_event, quality, reason
FROM market.status_log FINAL
WHERE (venue, instrument, ts_event, quality, reason) NOT IN (SELECT venue, instrument, ts_event, quality, reason FROM market.status_rows);

CREATE OR REPLACE VIEW market.status AS SELECT * FROM market.status_rows FINAL;
