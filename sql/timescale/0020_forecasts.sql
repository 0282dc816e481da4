-- What is served of an instrument at the end of a bar: a row a horizon and level. See docs/forecasts.md.

CREATE TABLE market.forecasts (
    venue text NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    ts_made timestamptz NOT NULL,
    ts_made_ns bigint NOT NULL,
    horizon_s bigint NOT NULL,
    level numeric(18, 9) NOT NULL,
    ts_target timestamptz NOT NULL,
    ts_target_ns bigint NOT NULL,
    price numeric(18, 9) NOT NULL,
    mean numeric(18, 9),
    lo numeric(18, 9),
    hi numeric(18, 9),
    crash_probability numeric(18, 9),
    reason text NOT NULL,
    skill numeric(18, 9),
    coverage numeric(18, 9),
    scored bigint NOT NULL,
    as_known_at timestamptz NOT NULL,
    as_known_at_ns bigint NOT NULL,
    PRIMARY KEY (instrument, model, ts_made, ts_made_ns, horizon_s, level)
);

-- What became of the forecasts of each model, once their targets had passed.

CREATE TABLE market.forecast_scores (
    venue text NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    horizon_s bigint NOT NULL,
    ts_made timestamptz NOT NULL,
    ts_made_ns bigint NOT NULL,
    ts_target timestamptz NOT NULL,
    ts_target_ns bigint NOT NULL,
    mean numeric(18, 9) NOT NULL,
    actual numeric(18, 9) NOT NULL,
    abs_error numeric(18, 9) NOT NULL,
    naive_abs_error numeric(18, 9) NOT NULL,
    covered boolean,
    covered_80 boolean,
    crash boolean NOT NULL,
    crash_probability numeric(18, 9),
    crash_base numeric(18, 9),
    served boolean NOT NULL,
    as_known_at timestamptz NOT NULL,
    as_known_at_ns bigint NOT NULL,
    PRIMARY KEY (instrument, model, horizon_s, ts_made, ts_made_ns)
);

-- TimescaleDB where the server has it loaded, as in 0001.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        PERFORM create_hypertable('market.forecasts'::regclass, 'ts_made'::name,
            chunk_time_interval => interval '7 days', create_default_indexes => false);
        PERFORM create_hypertable('market.forecast_scores'::regclass, 'ts_made'::name,
            chunk_time_interval => interval '7 days', create_default_indexes => false);
    END IF;
    CREATE INDEX forecasts_time ON market.forecasts (ts_made);
    CREATE INDEX forecast_scores_time ON market.forecast_scores (ts_made);
END
$$;

-- How good each model was on the last day of which there are scores.
CREATE VIEW market.forecast_scoreboard AS
SELECT venue, instrument, model, horizon_s, max(ts_made) AS ts_made, max(ts_made_ns) AS ts_made_ns,
    count(*) AS scored,
    round(avg(abs_error), 9) AS abs_error,
    round(1 - sum(abs_error) / nullif(sum(naive_abs_error), 0), 9) AS skill,
    round(avg(covered::integer), 9) AS coverage,
    round(avg(covered_80::integer), 9) AS coverage_80,
    round(
        1 - sum((crash_probability - crash::integer) ^ 2) / nullif(sum((crash_base - crash::integer) ^ 2), 0), 9
    ) AS crash_skill,
    round(avg(served::integer), 9) AS served
FROM market.forecast_scores
WHERE ts_made > (SELECT max(ts_made) FROM market.forecast_scores) - interval '1 day'
GROUP BY venue, instrument, model, horizon_s;
