"""COMEX, NYMEX and CBOT market data over FIX."""
