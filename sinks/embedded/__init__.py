"""Servers that need no installation: PostgreSQL and ClickHouse out of Python wheels, one process each."""
