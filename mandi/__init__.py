"""The roof: command line, settings, supervisor. Composition only."""

__version__ = "0.1.0"
