"""Why a signal did not become an order, and which breaker stopped trading: a code, a word, a sentence for each."""

# The order is the one in which the rules are asked; a signal is counted under the first that refuses it.
# 0 is an entry. The words are what reports, logs and metrics.json use.
REASONS = {
    "traded": "became an order",
    "halted": "trading is stopped by a breaker",
    "cooling_down": "pause after several losses in a row",
    "missing_input": "an input of a gate is missing or not a number",
    "stale_price": "the last price is too old",
    "stale_balance": "the account's balance is too old",
    "clock_skew": "our clock and the exchange's differ too much",
    "maintenance": "the exchange is under maintenance",
    "event": "an announcement is due",
    "outside_session": "outside the trading hours",
    "min_score": "the score is too low",
    "low_volume": "the volume is far below its average",
    "against_trend": "the higher timeframe points the other way",
    "rsi_extreme": "RSI is beyond its limit against the trade",
    "reward_risk": "the target is too near for the stop's distance",
    "wide_spread": "the spread is too wide",
    "thin_book": "the order book is too thin",
    "cool_down": "the symbol was left only now",
    "open_positions": "as many positions as allowed are open",
    "orders_per_second": "as many orders as allowed in a second",
    "orders_per_day": "as many orders as allowed today",
    "no_edge": "past trades, or the second-stage model, show no edge to size a position by",
    "order_notional": "the order would be below the smallest after the cap on its amount",
    "order_qty": "the order would be below the smallest after the cap on its quantity",
    "symbol_exposure": "the symbol's exposure is at its limit",
    "total_exposure": "the total exposure is at its limit",
    "correlated_exposure": "the exposure to correlated symbols is at its limit",
    "no_cash": "there is not enough cash or margin",
    "min_notional": "the order is below the exchange's smallest",
    "lapsed": "the order was cancelled or failed before it was filled",
}
CODES = {word: code for code, word in enumerate(REASONS)}
COUNT = len(REASONS)

# What stops trading as a whole. 0: nothing has.
BREAKERS = {
    "": "trading",
    "daily_loss": "the day's loss reached its limit",
    "drawdown": "the equity fell too far below the day's highest",
    "error_rate": "too many requests failed",
    "stale_data": "no closed bar for too long",
    "reconciliation": "our books and the exchange's differ",
    "model_expired": "the model is older than allowed",
    "model_drifted": "the features have drifted from those it was trained on",
    "model_uncertified": "the model has no valid certificate",
    "kill_switch": "stopped by hand",
}
BREAKER_CODES = {word: code for code, word in enumerate(BREAKERS)}

(
    TRADED, HALTED, COOLING_DOWN, MISSING_INPUT, STALE_PRICE, STALE_BALANCE, CLOCK_SKEW, MAINTENANCE, EVENT,
    OUTSIDE_SESSION, MIN_SCORE, LOW_VOLUME, AGAINST_TREND, RSI_EXTREME, REWARD_RISK, WIDE_SPREAD, THIN_BOOK,
    COOL_DOWN, OPEN_POSITIONS, ORDERS_PER_SECOND, ORDERS_PER_DAY, NO_EDGE, ORDER_NOTIONAL, ORDER_QTY,
    SYMBOL_EXPOSURE, TOTAL_EXPOSURE, CORRELATED_EXPOSURE, NO_CASH, MIN_NOTIONAL,
    LAPSED,
) = range(COUNT)  # fmt: skip
DAILY_LOSS, DRAWDOWN = 1, 2
