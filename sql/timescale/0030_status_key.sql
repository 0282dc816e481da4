-- Two who say a state of an instrument for the same instant (its feed, and who watches all feeds) do not replace each other:
-- which of them was there last differed from store to store.

ALTER TABLE market.status DROP CONSTRAINT status_pkey;

ALTER TABLE market.status ADD PRIMARY KEY (venue, instrument, ts_event, ts_event_ns, quality, reason);
