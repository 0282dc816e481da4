-- What is served of an instrument at the end of a bar: a row a horizon and level. See docs/forecasts.md.

CREATE TABLE IF NOT EXISTS market.forecasts (
    venue LowCardinality(String),
    instrument LowCardinality(String),
    model LowCardinality(String),
    ts_made DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    horizon_s Int64 CODEC(ZSTD(1)),
    level Decimal(18, 9) CODEC(ZSTD(1)),
    ts_target DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    price Decimal(18, 9) CODEC(ZSTD(1)),
    mean Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    lo Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    hi Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    crash_probability Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    reason LowCardinality(String),
    skill Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    coverage Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    scored Int64 CODEC(ZSTD(1)),
    as_known_at DateTime64(9, 'UTC') CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (instrument, model, ts_made, horizon_s, level);

-- What became of the forecasts of each model, once their targets had passed.

CREATE TABLE IF NOT EXISTS market.forecast_scores (
    venue LowCardinality(String),
    instrument LowCardinality(String),
    model LowCardinality(String),
    horizon_s Int64 CODEC(ZSTD(1)),
    ts_made DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    ts_target DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    mean Decimal(18, 9) CODEC(ZSTD(1)),
    actual Decimal(18, 9) CODEC(ZSTD(1)),
    abs_error Decimal(18, 9) CODEC(ZSTD(1)),
    naive_abs_error Decimal(18, 9) CODEC(ZSTD(1)),
    covered Nullable(Bool),
    covered_80 Nullable(Bool),
    crash Bool,
    crash_probability Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    crash_base Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    served Bool,
    as_known_at DateTime64(9, 'UTC') CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (instrument, model, horizon_s, ts_made);

-- How good each model was on the last day of which there are scores.
CREATE OR REPLACE VIEW market.forecast_scoreboard AS
SELECT
    s.venue AS venue,
    s.instrument AS instrument,
    s.model AS model,
    s.horizon_s AS horizon_s,
    max(s.ts_made) AS ts_made,
    count() AS scored,
    round(avg(toFloat64(s.abs_error)), 9) AS abs_error,
    round(1 - sum(toFloat64(s.abs_error)) / nullIf(sum(toFloat64(s.naive_abs_error)), 0), 9) AS skill,
    round(avg(s.covered), 9) AS coverage,
    round(avg(s.covered_80), 9) AS coverage_80,
    round(
        1 - sum(pow(toFloat64(s.crash_probability) - s.crash, 2))
            / nullIf(sum(pow(toFloat64(s.crash_base) - s.crash, 2)), 0), 9
    ) AS crash_skill,
    round(avg(s.served), 9) AS served
FROM market.forecast_scores AS s FINAL
WHERE s.ts_made > (SELECT max(ts_made) FROM market.forecast_scores) - INTERVAL 1 DAY
GROUP BY s.venue, s.instrument, s.model, s.horizon_s;
