-- Busts and corrections stand in `trades` as rows of their own: bit 4 of `flags` (8) is a bust, bit 5 (16) a correction of the
-- trade with their `trade_id`. `trades_net` is the trades as they now stand: without the busted ones, and each
-- corrected one with its newest terms, at its own time, with bit 5 of `flags`.
--
-- Some venues use their trade ids again on another day: what was said about a trade is within 12 hours of it. So a
-- trade may meet amendments of several days; the array has those within reach, and the greatest of them holds.

CREATE OR REPLACE VIEW market.trades_net AS
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
    FROM market.trades AS t
    LEFT JOIN
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
