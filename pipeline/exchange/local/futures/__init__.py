"""USD-M perpetual futures on the local exchange: `/fapi`, the streams below `/f/`, positions, funding and liquidation.

One-way positions with isolated margin, one asset of margin by symbol. Mark and index price are the last price of the
replayed bars. Not supported, and refused or unknown: hedge mode, cross margin, multi-assets margin, COIN-M, portfolio
margin, delivery contracts, changing an order, batch orders, price protection, priceMatch, and the WebSocket API of
futures. A liquidation closes the whole position at once; there is no automatic deleveraging.

Read in this order: `rules` (what a contract allows), `positions` (the money), `orders`, `requests` and `checks` (what
is refused), `engine` (all of it on the exchange's engine), then `operations`, `market_data`, `rest` and `streams`.
Source: https://developers.binance.com/docs/derivatives/usds-margined-futures.
"""
