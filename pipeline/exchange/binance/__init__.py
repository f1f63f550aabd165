"""Binance spot over python-binance, with what it lacks: see `adapter.BinanceExchange`."""
