-- The stored market: one table for each row type of market/schemas.py.
--
-- A time is kept twice: `<name>` timestamptz (microseconds, for people and time_bucket) and `<name>_ns`
-- (exact, int64 ns UTC). Prices and sizes are exact decimals. Text keys sort by bytes, as in ClickHouse.

CREATE TABLE market.trades (
    venue text NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    ts_event timestamptz NOT NULL,
    ts_event_ns bigint NOT NULL,
    ts_recv timestamptz,
    ts_recv_ns bigint,
    seq bigint NOT NULL,
    trade_id text COLLATE "C" NOT NULL DEFAULT '',
    price numeric(18, 9),
    size numeric(18, 9),
    side smallint,
    flags integer NOT NULL,
    PRIMARY KEY (instrument, ts_event, ts_event_ns, seq, trade_id)
);

CREATE TABLE market.quotes (
    venue text NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    ts_event timestamptz NOT NULL,
    ts_event_ns bigint NOT NULL,
    ts_recv timestamptz,
    ts_recv_ns bigint,
    seq bigint NOT NULL,
    bid_price numeric(18, 9),
    bid_size numeric(18, 9),
    ask_price numeric(18, 9),
    ask_size numeric(18, 9),
    flags integer NOT NULL,
    PRIMARY KEY (instrument, ts_event, ts_event_ns, seq)
);

CREATE TABLE market.bars (
    venue text NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    "interval" text COLLATE "C" NOT NULL,
    ts_open timestamptz NOT NULL,
    ts_open_ns bigint NOT NULL,
    ts_close timestamptz NOT NULL,
    ts_close_ns bigint NOT NULL,
    revision integer NOT NULL,
    final boolean NOT NULL,
    open numeric(18, 9) NOT NULL,
    high numeric(18, 9) NOT NULL,
    low numeric(18, 9) NOT NULL,
    close numeric(18, 9) NOT NULL,
    volume numeric(38, 9) NOT NULL,
    vwap numeric(18, 9) NOT NULL,
    trades bigint NOT NULL,
    quality text NOT NULL,
    as_known_at timestamptz NOT NULL,
    as_known_at_ns bigint NOT NULL,
    PRIMARY KEY (instrument, "interval", ts_open, ts_open_ns, revision)
);

CREATE TABLE market.late (
    kind smallint NOT NULL,
    venue text NOT NULL,
    instrument text,
    ts_event timestamptz NOT NULL,
    ts_event_ns bigint NOT NULL,
    ts_recv timestamptz,
    ts_recv_ns bigint,
    seq bigint,
    price numeric(18, 9),
    size numeric(18, 9),
    side smallint,
    trade_id text,
    bid_price numeric(18, 9),
    bid_size numeric(18, 9),
    ask_price numeric(18, 9),
    ask_size numeric(18, 9),
    flags integer NOT NULL,
    watermark timestamptz NOT NULL,
    watermark_ns bigint NOT NULL,
    source text COLLATE "C" NOT NULL,
    source_offset bigint NOT NULL,
    source_row bigint NOT NULL,
    PRIMARY KEY (source, source_offset, source_row)
);

CREATE TABLE market.rejected (
    venue text,
    instrument text,
    ts_recv timestamptz,
    ts_recv_ns bigint,
    reason text NOT NULL,
    detail text NOT NULL,
    raw text NOT NULL,
    source text COLLATE "C" NOT NULL,
    source_offset bigint NOT NULL,
    source_row bigint NOT NULL,
    PRIMARY KEY (source, source_offset, source_row)
);

CREATE TABLE market.gaps (
    gap_id text COLLATE "C" PRIMARY KEY,
    venue text NOT NULL,
    channel text NOT NULL,
    seq_from bigint NOT NULL,
    seq_to bigint NOT NULL,
    ts_detected timestamptz NOT NULL,
    ts_detected_ns bigint NOT NULL,
    ts_resolved timestamptz,
    ts_resolved_ns bigint,
    resolution text,
    recovered_rows bigint NOT NULL,
    reason text NOT NULL
);

CREATE TABLE market.status (
    venue text COLLATE "C" NOT NULL,
    instrument text COLLATE "C" NOT NULL DEFAULT '', -- '' is the venue's session as a whole
    ts_event timestamptz NOT NULL,
    ts_event_ns bigint NOT NULL,
    quality text NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (venue, instrument, ts_event, ts_event_ns)
);

-- TimescaleDB where the server has it loaded; plain PostgreSQL gets a block index on time instead, since rows come
-- in about the order of their time.
DO $$
DECLARE
    loaded boolean := EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
        AND coalesce(current_setting('shared_preload_libraries', true), '') LIKE '%timescaledb%';
BEGIN
    IF loaded THEN
        CREATE EXTENSION IF NOT EXISTS timescaledb;
        PERFORM create_hypertable('market.trades'::regclass, 'ts_event'::name,
            chunk_time_interval => interval '1 day', create_default_indexes => false);
        PERFORM create_hypertable('market.quotes'::regclass, 'ts_event'::name,
            chunk_time_interval => interval '1 day', create_default_indexes => false);
        PERFORM create_hypertable('market.bars'::regclass, 'ts_open'::name,
            chunk_time_interval => interval '7 days', create_default_indexes => false);
    END IF;
    CREATE INDEX trades_time ON market.trades USING brin (ts_event) WITH (pages_per_range = 32);
    CREATE INDEX quotes_time ON market.quotes USING brin (ts_event) WITH (pages_per_range = 32);
    CREATE INDEX bars_time ON market.bars USING brin (ts_open) WITH (pages_per_range = 32);
END
$$;

CREATE VIEW market.bars_latest AS
SELECT DISTINCT ON (instrument, "interval", ts_open, ts_open_ns) *
FROM market.bars
ORDER BY instrument, "interval", ts_open, ts_open_ns, revision DESC;

-- So that `bars` reads the same as `market.bars`. The owner of the database may set it, others do without.
DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path = market, public', current_database());
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'search_path of % is not changed: not its owner', current_database();
END
$$;
