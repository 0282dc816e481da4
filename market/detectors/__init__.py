"""Detectors: what is unusual in a stream, scored before it is learnt."""
