-- Anomalies. A row is replaced by a later one of its id. A plain table: its key has no time, so it cannot be a hypertable.

CREATE TABLE market.anomalies (
    anomaly_id text COLLATE "C" PRIMARY KEY,
    venue text NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    ts_event timestamptz NOT NULL,
    ts_event_ns bigint NOT NULL,
    ts_end timestamptz,
    ts_end_ns bigint,
    kind text NOT NULL,
    severity text NOT NULL,
    score numeric(18, 9) NOT NULL,
    value numeric(18, 9),
    expected numeric(18, 9),
    witness text NOT NULL,
    detail text NOT NULL,
    as_known_at timestamptz NOT NULL,
    as_known_at_ns bigint NOT NULL
);

CREATE INDEX anomalies_time ON market.anomalies (ts_event, ts_event_ns);
CREATE INDEX anomalies_instrument ON market.anomalies (instrument, ts_event_ns);
