"""The trading backend, simulated: users' orders and trades in PostgreSQL, with an outbox of events."""
