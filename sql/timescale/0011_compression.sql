-- A server before TimescaleDB 2.20 compresses nothing, though its licence would let it: for each row that is inserted into a
-- compressed chunk it unpacks the segment that could have its key, one to two milliseconds a row, so that many late rows
-- never end within a statement's time. From 2.20 on it compares keys without that (docs/performance.md).
DO $$
DECLARE
    name text;
BEGIN
    IF EXISTS (
        SELECT FROM pg_extension
        WHERE extname = 'timescaledb'
          AND current_setting('timescaledb.license', true) = 'timescale'
          AND string_to_array(split_part(extversion, '-', 1), '.')::int[] < ARRAY[2, 20]
    ) THEN
        FOREACH name IN ARRAY ARRAY['trades', 'quotes', 'books', 'bars'] LOOP
            PERFORM remove_compression_policy(format('market.%I', name)::regclass, if_exists => true);
        END LOOP;
    END IF;
END
$$;
