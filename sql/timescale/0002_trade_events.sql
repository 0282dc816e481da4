-- Events of the trading backend. The five columns after ts_recv are null until the market was joined to the event;
-- as_known_at says up to when it was. A plain table: its key has no time, so it cannot be a hypertable.

CREATE TABLE market.trade_events (
    event_id text COLLATE "C" PRIMARY KEY,
    event_type text NOT NULL,
    trade_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    instrument text COLLATE "C" NOT NULL,
    side smallint NOT NULL,
    quantity numeric(18, 9) NOT NULL,
    price numeric(18, 9) NOT NULL,
    ts_event timestamptz NOT NULL,
    ts_event_ns bigint NOT NULL,
    ts_recv timestamptz NOT NULL,
    ts_recv_ns bigint NOT NULL,
    arrival_price numeric(18, 9),
    slippage numeric(18, 9),
    markout_1m numeric(18, 9),
    markout_5m numeric(18, 9),
    markout_30m numeric(18, 9),
    as_known_at timestamptz,
    as_known_at_ns bigint
);

CREATE INDEX trade_events_user ON market.trade_events (user_id, ts_event_ns);
CREATE INDEX trade_events_trade ON market.trade_events (trade_id);
CREATE INDEX trade_events_time ON market.trade_events USING brin (ts_event) WITH (pages_per_range = 32);
