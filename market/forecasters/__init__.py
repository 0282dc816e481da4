"""Forecasters: what comes next, with how sure that is."""
