"""Bytewax wiring: one file is one dataflow."""
