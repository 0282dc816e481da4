-- Headlines. `topics` and `instruments` hold names separated by spaces.

CREATE TABLE IF NOT EXISTS market.news (
    news_id String CODEC(ZSTD(1)),
    venue LowCardinality(String),
    ts_event DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    ts_recv Nullable(DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    headline String CODEC(ZSTD(1)),
    body String CODEC(ZSTD(1)),
    topics String CODEC(ZSTD(1)),
    instruments String CODEC(ZSTD(1)),
    urgency Int8
)
ENGINE = ReplacingMergeTree
ORDER BY news_id;
