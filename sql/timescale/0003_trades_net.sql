-- Busts and corrections stand in `trades` as rows of their own: bit 4 of `flags` (8) is a bust, bit 5 (16) a correction of the
-- trade with their `trade_id`. `trades_net` is the trades as they now stand: without the busted ones, and each
-- corrected one with its newest terms, at its own time, with bit 5 of `flags`.
--
-- Some venues use their trade ids again on another day: what was said about a trade is within 12 hours of it.

CREATE INDEX trades_amendments ON market.trades (instrument, trade_id, ts_event) WHERE flags & 24 <> 0;

CREATE VIEW market.trades_net AS
SELECT
    t.venue,
    t.instrument,
    t.ts_event,
    t.ts_event_ns,
    t.ts_recv,
    t.ts_recv_ns,
    t.seq,
    t.trade_id,
    coalesce(said.price, t.price) AS price,
    coalesce(said.size, t.size) AS size,
    CASE WHEN said.flags IS NULL THEN t.side ELSE said.side END AS side,
    t.flags | coalesce(said.flags & 16, 0) AS flags
FROM market.trades AS t
LEFT JOIN LATERAL (
    SELECT a.price, a.size, a.side, a.flags
    FROM market.trades AS a
    WHERE a.flags & 24 <> 0
      AND a.instrument = t.instrument
      AND a.trade_id = t.trade_id
      AND a.ts_event BETWEEN t.ts_event - interval '12 hours' AND t.ts_event + interval '12 hours'
    ORDER BY a.flags & 8 DESC, a.ts_event_ns DESC, a.seq DESC -- a bust is for good; then the newest correction
    LIMIT 1
) AS said ON t.trade_id <> ''
WHERE t.flags & 24 = 0
  AND coalesce(said.flags, 0) & 8 = 0;
