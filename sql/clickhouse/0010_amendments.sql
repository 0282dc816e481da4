-- Busts and corrections are rare; without this every look for them reads `flags` of all trades.
ALTER TABLE market.trades ADD INDEX IF NOT EXISTS amendments bitAnd(flags, 24) TYPE set(4) GRANULARITY 1;

ALTER TABLE market.trades MATERIALIZE INDEX amendments;
