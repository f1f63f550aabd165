"""The rows of the table, in its order: what clients do with an exchange."""

ROWS: dict[str, tuple[str, ...]] = {
    "Market data": (
        *("ping", "time", "exchangeInfo", "klines", "uiKlines", "depth", "trades", "historical trades", "aggTrades"),
        *("avgPrice", "ticker price", "ticker book", "ticker 24hr", "ticker rolling window", "ticker trading day"),
    ),
    "Account": ("account", "commission rates", "order rate limits", "filters of the account"),
    "Orders": (
        *("LIMIT", "MARKET by quantity", "MARKET by quote amount", "LIMIT_MAKER", "STOP_LOSS", "STOP_LOSS_LIMIT"),
        *("TAKE_PROFIT", "TAKE_PROFIT_LIMIT", "trailing stop", "order test", "get order", "open orders", "cancel"),
        *("cancel all", "cancelReplace", "all orders", "my trades", "limit order fills later", "stop triggers later"),
    ),
    "Order lists": (
        *("OCO", "OTO", "OTOCO", "query list", "open lists", "all lists", "cancel list", "one OCO leg ends the other"),
    ),
    "Refusals": (
        *(
            "insufficient balance",
            "unknown symbol",
            "bad signature",
            "filter failure",
            "failure of an account's filter",
        ),
        "unknown order",
    ),
    "Market streams": (
        *(
            "kline stream",
            "trade stream",
            "aggTrade stream",
            "bookTicker stream",
            "depth stream",
            "partial depth stream",
        ),
        *("miniTicker stream", "ticker stream"),
    ),
    "User data stream": ("executionReport", "outboundAccountPosition", "listStatus"),
    "All replies": ("no documented field is missing",),
}
