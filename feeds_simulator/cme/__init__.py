"""COMEX, NYMEX and CBOT as a venue: a FIX acceptor with market data."""
