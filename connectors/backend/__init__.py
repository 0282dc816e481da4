"""The trading backend: its events from a Kafka topic, and from an outbox table in PostgreSQL."""
