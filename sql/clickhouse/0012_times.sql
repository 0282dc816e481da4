-- Times of ticks are irregular: Delta takes an eighth less space than DoubleDelta in all (`mandi bench analytics`). Bars are
-- regular and keep DoubleDelta. Parts that are there get the codec when they are merged.

ALTER TABLE market.trades
    MODIFY COLUMN ts_event DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN ts_recv Nullable(DateTime64(9, 'UTC')) CODEC(Delta, ZSTD(1));

ALTER TABLE market.quotes
    MODIFY COLUMN ts_event DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN ts_recv Nullable(DateTime64(9, 'UTC')) CODEC(Delta, ZSTD(1));
