"""A staged machine-learning trading pipeline for Binance."""

__version__ = "0.1.0"
