-- What analysts ask most, as views (docs/analytics.md). They compute when they are read, over rows of which each key counts
-- once (FINAL), so they stay right whatever is inserted again. A materialised view that sums at insert would not: it sees
-- a repeated row as a new one, and never sees the late one's day again. Measured by `mandi bench analytics`.
--
-- `day` and `hour` are UTC. A condition on `day`, `hour` or `instrument` reaches the index through the views.

-- As in 0003, for trades that were amended; all others, which is nearly all, need no join.
CREATE OR REPLACE VIEW market.trades_net AS
SELECT venue, instrument, ts_event, ts_recv, seq, trade_id, price, size, side, flags
FROM market.trades FINAL
WHERE bitAnd(flags, 24) = 0
  AND (instrument, trade_id) NOT IN (
      SELECT instrument, trade_id FROM market.trades WHERE bitAnd(flags, 24) != 0 AND trade_id != ''
  )
UNION ALL
SELECT
    venue,
    instrument,
    ts_event,
    ts_recv,
    seq,
    trade_id,
    if(said.4 > 0, said.5, price_then) AS price,
    if(said.4 > 0, said.6, size_then) AS size,
    if(said.4 > 0, said.7, side_then) AS side,
    bitOr(flags_then, said.4) AS flags
FROM
(
    SELECT
        t.venue AS venue,
        t.instrument AS instrument,
        t.ts_event AS ts_event,
        t.ts_recv AS ts_recv,
        t.seq AS seq,
        t.trade_id AS trade_id,
        t.price AS price_then,
        t.size AS size_then,
        t.side AS side_then,
        t.flags AS flags_then,
        arrayLast(
            x -> abs(toUnixTimestamp64Nano(x.2) - toUnixTimestamp64Nano(t.ts_event)) <= 43200000000000, a.found
        ) AS said
    FROM market.trades AS t FINAL
    INNER JOIN
    (
        SELECT
            instrument,
            trade_id,
            -- In order: busts above corrections, then the newest.
            arraySort(groupArray((bitAnd(flags, 8), ts_event, seq, bitAnd(flags, 16), price, size, side))) AS found
        FROM market.trades
        WHERE bitAnd(flags, 24) != 0 AND trade_id != ''
        GROUP BY instrument, trade_id
    ) AS a ON a.instrument = t.instrument AND a.trade_id = t.trade_id
    WHERE bitAnd(t.flags, 24) = 0
)
WHERE said.1 = 0;

-- A day of an instrument, from its trades as they now stand. `turnover` is lots times the price as quoted.
CREATE OR REPLACE VIEW market.trade_days AS
SELECT
    toDate(ts_event) AS day,
    venue,
    instrument,
    count() AS trades,
    sum(size) AS volume,
    sum(toDecimal128(size, 9) * price) AS turnover,
    toDecimal64(divideDecimal(turnover, volume, 9), 9) AS vwap,
    argMin(price, (ts_event, seq)) AS open,
    max(price) AS high,
    min(price) AS low,
    argMax(price, (ts_event, seq)) AS close,
    sumIf(size, side = 1) AS bought,
    sumIf(size, side = -1) AS sold,
    min(ts_event) AS first_trade,
    max(ts_event) AS last_trade
FROM market.trades_net
GROUP BY day, venue, instrument;

-- A day of a venue: how much came, how late it arrived here (within 1 %), and what was not straight through.
CREATE OR REPLACE VIEW market.venue_days AS
SELECT
    toDate(ts_event) AS day,
    venue,
    uniqExactIf(instrument, kind IN ('trade', 'quote')) AS instruments,
    countIf(kind = 'trade') AS trades,
    sumIf(size, kind = 'trade') AS volume,
    countIf(kind = 'quote') AS quotes,
    countIf(kind = 'amendment') AS amendments,
    countIf(kind = 'late') AS late,
    countIf(kind = 'rejected') AS rejected,
    quantileDDIf(0.01, 0.5)(delay_ns, kind != 'late') / 1e6 AS delay_p50_ms,
    quantileDDIf(0.01, 0.99)(delay_ns, kind != 'late') / 1e6 AS delay_p99_ms
FROM
(
    SELECT
        ts_event,
        venue,
        toString(instrument) AS instrument,
        if(bitAnd(flags, 24) = 0, 'trade', 'amendment') AS kind,
        toDecimal128(size, 9) AS size,
        toUnixTimestamp64Nano(ts_recv) - toUnixTimestamp64Nano(ts_event) AS delay_ns
    FROM market.trades FINAL
    UNION ALL
    SELECT
        ts_event,
        venue,
        toString(instrument),
        'quote',
        NULL,
        toUnixTimestamp64Nano(ts_recv) - toUnixTimestamp64Nano(ts_event)
    FROM market.quotes FINAL
    UNION ALL
    SELECT ts_event, venue, instrument, 'late', NULL, NULL
    FROM market.late FINAL
    UNION ALL
    SELECT assumeNotNull(ts_recv), assumeNotNull(venue), instrument, 'rejected', NULL, NULL
    FROM market.rejected FINAL
    WHERE ts_recv IS NOT NULL AND venue IS NOT NULL
)
GROUP BY day, venue;

-- The spread by hour, weighted by time: a quote stands until the next one of its instrument and day, at most a minute
-- (over a break nobody can deal at it). `crossed` quotes are counted, and are in no mean.
CREATE OR REPLACE VIEW market.spread_profile AS
SELECT
    day,
    toHour(ts_event) AS hour,
    venue,
    instrument,
    count() AS quotes,
    countIf(spread < 0) AS crossed,
    sumIf(stood_ns, spread >= 0) / 1e9 AS seconds,
    toFloat64(sumIf(spread * stood_ns, spread >= 0)) / 1e9 / seconds AS mean_spread,
    mean_spread / (toFloat64(sumIf(both * stood_ns, spread >= 0)) / 1e9 / seconds / 2) * 1e4 AS mean_spread_bps,
    minIf(spread, spread >= 0) AS least_spread,
    maxIf(spread, spread >= 0) AS greatest_spread,
    toFloat64(sumIf(bid_size * stood_ns, spread >= 0)) / 1e9 / seconds AS mean_bid_size,
    toFloat64(sumIf(ask_size * stood_ns, spread >= 0)) / 1e9 / seconds AS mean_ask_size
FROM
(
    SELECT
        toDate(ts_event) AS day,
        venue,
        instrument,
        ts_event,
        toDecimal128(bid_size, 9) AS bid_size,
        toDecimal128(ask_size, 9) AS ask_size,
        toDecimal128(ask_price, 9) - bid_price AS spread,
        toDecimal128(ask_price, 9) + bid_price AS both,
        least(
            toUnixTimestamp64Nano(
                leadInFrame(ts_event, 1, ts_event) OVER (
                    PARTITION BY toDate(ts_event), instrument
                    ORDER BY ts_event, seq
                    ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING
                )
            ) - toUnixTimestamp64Nano(ts_event),
            60000000000
        ) AS stood_ns
    FROM market.quotes FINAL
)
GROUP BY day, hour, venue, instrument;

-- Volume by hour, and at each price.
CREATE OR REPLACE VIEW market.volume_profile AS
SELECT
    toDate(ts_event) AS day,
    toHour(ts_event) AS hour,
    venue,
    instrument,
    count() AS trades,
    sum(size) AS volume,
    toDecimal64(divideDecimal(sum(toDecimal128(size, 9) * price), volume, 9), 9) AS vwap,
    sumIf(size, side = 1) AS bought,
    sumIf(size, side = -1) AS sold
FROM market.trades_net
GROUP BY day, hour, venue, instrument;

CREATE OR REPLACE VIEW market.volume_at_price AS
SELECT
    toDate(ts_event) AS day,
    venue,
    instrument,
    price,
    count() AS trades,
    sum(size) AS volume,
    sumIf(size, side = 1) AS bought,
    sumIf(size, side = -1) AS sold
FROM market.trades_net
GROUP BY day, venue, instrument, price;

-- How far each instrument went since its last close of an earlier day, from the newest revisions of its 1m bars.
CREATE OR REPLACE VIEW market.top_movers AS
SELECT
    day,
    venue,
    instrument,
    previous_close,
    close,
    close - previous_close AS change,
    toFloat64(close - previous_close) / toFloat64(abs(previous_close)) * 100 AS change_percent,
    volume
FROM
(
    SELECT
        day,
        venue,
        instrument,
        close,
        volume,
        lagInFrame(toNullable(close)) OVER (
            PARTITION BY instrument ORDER BY day ROWS BETWEEN 1 PRECEDING AND CURRENT ROW
        ) AS previous_close
    FROM
    (
        SELECT
            toDate(ts_open) AS day,
            any(venue) AS venue,
            instrument,
            argMax(close, ts_open) AS close,
            sum(volume) AS volume
        FROM market.bars_latest
        WHERE interval = '1m' AND trades > 0
        GROUP BY day, instrument
    )
)
WHERE previous_close IS NOT NULL AND previous_close != 0;
