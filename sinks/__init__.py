"""Everything that takes data out: the log writer, TimescaleDB, ClickHouse."""
