-- Headlines. A plain table: its key has no time, so it cannot be a hypertable. `topics` and `instruments` hold names
-- separated by spaces.

CREATE TABLE market.news (
    news_id text COLLATE "C" PRIMARY KEY,
    venue text NOT NULL,
    ts_event timestamptz NOT NULL,
    ts_event_ns bigint NOT NULL,
    ts_recv timestamptz,
    ts_recv_ns bigint,
    headline text NOT NULL,
    body text NOT NULL,
    topics text NOT NULL,
    instruments text NOT NULL,
    urgency smallint NOT NULL
);

CREATE INDEX news_time ON market.news (ts_event, ts_event_ns);
