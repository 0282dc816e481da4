-- Snapshots of order books: ten levels a side, 1 the best; null where there are fewer.

CREATE TABLE market.books (
    venue text NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    ts_event timestamptz NOT NULL,
    ts_event_ns bigint NOT NULL,
    ts_recv timestamptz,
    ts_recv_ns bigint,
    seq bigint,
    state text NOT NULL,
    quality text NOT NULL,
    mid_price numeric(18, 9),
    micro_price numeric(18, 9),
    imbalance numeric(18, 9),
    bid_1_price numeric(18, 9),
    bid_1_size numeric(18, 9),
    bid_2_price numeric(18, 9),
    bid_2_size numeric(18, 9),
    bid_3_price numeric(18, 9),
    bid_3_size numeric(18, 9),
    bid_4_price numeric(18, 9),
    bid_4_size numeric(18, 9),
    bid_5_price numeric(18, 9),
    bid_5_size numeric(18, 9),
    bid_6_price numeric(18, 9),
    bid_6_size numeric(18, 9),
    bid_7_price numeric(18, 9),
    bid_7_size numeric(18, 9),
    bid_8_price numeric(18, 9),
    bid_8_size numeric(18, 9),
    bid_9_price numeric(18, 9),
    bid_9_size numeric(18, 9),
    bid_10_price numeric(18, 9),
    bid_10_size numeric(18, 9),
    ask_1_price numeric(18, 9),
    ask_1_size numeric(18, 9),
    ask_2_price numeric(18, 9),
    ask_2_size numeric(18, 9),
    ask_3_price numeric(18, 9),
    ask_3_size numeric(18, 9),
    ask_4_price numeric(18, 9),
    ask_4_size numeric(18, 9),
    ask_5_price numeric(18, 9),
    ask_5_size numeric(18, 9),
    ask_6_price numeric(18, 9),
    ask_6_size numeric(18, 9),
    ask_7_price numeric(18, 9),
    ask_7_size numeric(18, 9),
    ask_8_price numeric(18, 9),
    ask_8_size numeric(18, 9),
    ask_9_price numeric(18, 9),
    ask_9_size numeric(18, 9),
    ask_10_price numeric(18, 9),
    ask_10_size numeric(18, 9),
    PRIMARY KEY (instrument, ts_event, ts_event_ns)
);

-- TimescaleDB where the server has it loaded, as in 0001.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        PERFORM create_hypertable('market.books'::regclass, 'ts_event'::name,
            chunk_time_interval => interval '1 day', create_default_indexes => false);
    END IF;
    CREATE INDEX books_time ON market.books USING brin (ts_event) WITH (pages_per_range = 32);
END
$$;
