"""A Binance-compatible exchange on this machine: it replays history, matches orders and fails on demand.

Read in this order: `history` and `path` (the market), `orders` and `accounts` (what is kept), `requests` (what is
refused), `matching` (how orders are filled), `engine` (all of it as one pure object), then the shells around it.
Sources: https://developers.binance.com/docs/binance-spot-api-docs.
"""
