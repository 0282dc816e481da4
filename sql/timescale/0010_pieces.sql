-- Raw rows (trades, quotes, books) in pieces by time, so that old ones can be dropped whole.
--
-- TimescaleDB, any edition: they are hypertables since 0001 and 0006. Timescale's own licence compresses chunks after 7 days
-- as well. Plain PostgreSQL: partitions by month, as in ClickHouse, made here and by `make_room`.

-- Make the partitions of the months in which rows are about to be inserted. Nothing to do where `name` is a hypertable.
-- Rows that came without it are in the default partition `<name>_rest`, and are moved.
CREATE FUNCTION market.make_room(name text, months date[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    whole regclass := format('market.%I', name);
    month date;
    piece text;
    begins timestamptz;
    ends timestamptz;
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = whole) <> 'p' THEN
        RETURN;
    END IF;
    FOREACH month IN ARRAY months LOOP
        piece := format('%s_%s', name, to_char(month, 'YYYYMM'));
        CONTINUE WHEN to_regclass(format('market.%I', piece)) IS NOT NULL;
        -- The table as it was before there were partitions holds all up to the month that it is named by.
        CONTINUE WHEN EXISTS (
            SELECT FROM pg_inherits JOIN pg_class ON oid = inhrelid
            WHERE inhparent = whole AND relname LIKE name || '\_before\_%' AND right(relname, 6) > to_char(month, 'YYYYMM')
        );
        PERFORM pg_advisory_xact_lock(hashtext('market.make_room'));
        CONTINUE WHEN to_regclass(format('market.%I', piece)) IS NOT NULL;
        begins := month::timestamp AT TIME ZONE 'UTC';
        ends := (month + interval '1 month')::timestamp AT TIME ZONE 'UTC';
        EXECUTE format('CREATE TABLE market.%I (LIKE %s INCLUDING ALL)', piece, whole);
        EXECUTE format(
            'WITH moved AS (DELETE FROM market.%I WHERE ts_event >= %L AND ts_event < %L RETURNING *) '
            'INSERT INTO market.%I SELECT * FROM moved', name || '_rest', begins, ends, piece
        );
        EXECUTE format('ALTER TABLE %s ATTACH PARTITION market.%I FOR VALUES FROM (%L) TO (%L)', whole, piece, begins, ends);
    END LOOP;
END
$$;

-- Delete the rows before `cut`, whole pieces first; return how many there were.
CREATE FUNCTION market.drop_before(name text, cut timestamptz) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    whole regclass := format('market.%I', name);
    gone bigint;
    piece regclass;
BEGIN
    EXECUTE format('SELECT count(*) FROM %s WHERE ts_event < %L', whole, cut) INTO gone;
    IF (SELECT relkind FROM pg_class WHERE oid = whole) <> 'p' THEN
        PERFORM drop_chunks(whole, older_than => cut);
    ELSE
        FOR piece IN
            SELECT inhrelid FROM pg_inherits JOIN pg_class ON oid = inhrelid
            WHERE inhparent = whole
              AND (relname ~ '_[0-9]{6}$' AND relname !~ '_before_'
                       AND to_date(right(relname, 6), 'YYYYMM') + interval '1 month' <= cut AT TIME ZONE 'UTC'
                   OR relname ~ '_before_[0-9]{6}$' AND to_date(right(relname, 6), 'YYYYMM') <= cut AT TIME ZONE 'UTC')
        LOOP
            EXECUTE format('DROP TABLE %s', piece);
        END LOOP;
    END IF;
    EXECUTE format('DELETE FROM %s WHERE ts_event < %L', whole, cut);
    RETURN gone;
END
$$;

-- Plain PostgreSQL: make the tables partitioned. One that has rows becomes the partition of all months so far.
DO $$
DECLARE
    name text;
    piece regclass;
    index regclass;
    newest timestamptz;
    ends timestamptz;
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        RETURN;
    END IF;
    DROP VIEW market.trades_net;
    FOREACH name IN ARRAY ARRAY['trades', 'quotes', 'books'] LOOP
        EXECUTE format('SELECT max(ts_event) FROM market.%I', name) INTO newest;
        ends := (date_trunc('month', newest AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC';
        piece := format('market.%I', name);
        FOR index IN SELECT indexrelid FROM pg_index WHERE indrelid = piece LOOP
            EXECUTE format('ALTER INDEX %s RENAME TO %I', index, (SELECT relname FROM pg_class WHERE oid = index) || '_before');
        END LOOP;
        EXECUTE format('ALTER TABLE %s RENAME TO %I', piece, name || '_before');
        EXECUTE format('CREATE TABLE market.%I (LIKE %s INCLUDING ALL) PARTITION BY RANGE (ts_event)', name, piece);
        EXECUTE format('CREATE TABLE market.%I PARTITION OF market.%I DEFAULT', name || '_rest', name);
        IF newest IS NULL THEN
            EXECUTE format('DROP TABLE %s', piece);
        ELSE
            EXECUTE format('ALTER TABLE market.%I ATTACH PARTITION %s FOR VALUES FROM (MINVALUE) TO (%L)', name, piece, ends);
            EXECUTE format('ALTER TABLE %s RENAME TO %I', piece, format('%s_before_%s', name, to_char(ends AT TIME ZONE 'UTC', 'YYYYMM')));
        END IF;
    END LOOP;
    -- As in 0003: the one that was there reads the table that was renamed.
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
        ORDER BY a.flags & 8 DESC, a.ts_event_ns DESC, a.seq DESC
        LIMIT 1
    ) AS said ON t.trade_id <> ''
    WHERE t.flags & 24 = 0
      AND coalesce(said.flags, 0) & 8 = 0;
END
$$;

-- Compression, which Timescale's own licence has and the Apache edition has not. Bars are kept for ever and are compressed, too.
DO $$
DECLARE
    name text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')
       OR coalesce(current_setting('timescaledb.license', true), '') <> 'timescale' THEN
        RETURN;
    END IF;
    FOREACH name IN ARRAY ARRAY['trades', 'quotes', 'books', 'bars'] LOOP
        EXECUTE format(
            'ALTER TABLE market.%I SET (timescaledb.compress, timescaledb.compress_segmentby = %L, timescaledb.compress_orderby = %L)',
            name,
            CASE name WHEN 'bars' THEN 'instrument, "interval"' ELSE 'instrument' END,
            CASE name WHEN 'bars' THEN 'ts_open, ts_open_ns, revision' ELSE 'ts_event, ts_event_ns' END
        );
        PERFORM add_compression_policy(format('market.%I', name)::regclass, compress_after => interval '7 days');
    END LOOP;
END
$$;
