"""The trading core: one `step` per bar, compiled once, the same for history and for the market.

A bar is lived through in three parts, which is the fill model:

1. `execute`: at the open, the orders decided at the last close are filled at the open price plus
   slippage and half the spread.
2. `touch_levels`: inside the bar, stop and target are filled where the price reached them.
3. `decide`: at the close, the trailing stop follows and signals become orders for the next open.

Made-up bars (exchange silent) fill nothing: an entry lapses on them, because its score is stale when
trading resumes; an exit waits.
"""

from collections.abc import Sequence

import numba

from pipeline.trading.records import END, MAX_BARS, SIGNAL, STOP_LOSS, TAKE_PROFIT, TRAILING_STOP, State, Trade
from pipeline.trading.rules import Rules


@numba.njit(cache=True, error_model="numpy")
def step(
    state: State,
    trades: Sequence[Trade],
    bar: int,
    open_: float,
    high: float,
    low: float,
    close: float,
    filled: bool,
    buy: bool,
    sell: bool,
    rules: Rules,
) -> float:
    """Live through one closed bar and decide what to do at the next open.

    state: record STATE, changed in place. trades: ledger TRADE [≥ number of bars], to which closed
    trades are added. bar: its number. filled: the bar is made up. buy, sell: signals at its close.
    Returns the equity at the close.
    """
    if filled:
        state.enter = 0
    else:
        if state.enter != 0 or state.leave != 0:
            execute(state, trades, bar, open_, rules)
        if state.side != 0:
            touch_levels(state, trades, bar, open_, high, low, rules)
        decide(state, bar, buy, sell, rules)
    return state.cash + state.qty * close


@numba.njit(cache=True, error_model="numpy", inline="always")
def execute(state: State, trades: Sequence[Trade], bar: int, open_: float, rules: Rules) -> None:
    """Fill the waiting orders at the open: first the exit, then the entry."""
    if state.leave != 0 and state.side != 0:
        _see(state, open_, open_)
        close_position(state, trades, bar, open_ * (1 - state.side * rules.slip), rules.taker_fee, state.leave)
    if state.enter != 0:
        open_position(state, bar, state.enter, open_ * (1 + state.enter * rules.slip), rules)
    state.leave = 0
    state.enter = 0


@numba.njit(cache=True, error_model="numpy", inline="always")
def touch_levels(
    state: State, trades: Sequence[Trade], bar: int, open_: float, high: float, low: float, rules: Rules
) -> None:
    """Fill stop or target if the bar reached them; otherwise note the bar's extremes.

    A stop is a market order: it fills at its level, or at the open if the price had jumped past it,
    less slippage. A target is a resting limit order: it fills at its level, as maker.
    """
    side = state.side
    best, worst = (high, low) if side > 0 else (low, high)
    hit_stop = side * (worst - state.stop) <= 0
    hit_target = side * (best - state.target) >= 0
    if not hit_stop and not hit_target:
        _see(state, best, worst)
        level = state.best * (1 - side * rules.trailing_stop)
        if side * (level - state.stop) > 0:
            state.stop = level
            state.stop_reason = TRAILING_STOP
        return
    stop_at_open = side * (open_ - state.stop) <= 0
    target_at_open = side * (open_ - state.target) >= 0
    if hit_stop and hit_target and not stop_at_open and not target_at_open:
        state.ambiguous_bars += 1
        stopped = rules.stop_first
    else:
        stopped = stop_at_open or (hit_stop and not target_at_open)
    if stopped:
        level = open_ if stop_at_open else state.stop
        _see(state, level, level)
        close_position(state, trades, bar, level * (1 - side * rules.slip), rules.taker_fee, state.stop_reason)
    else:
        # How far it went against us before the target is not known: the bar's worst is assumed,
        # within the stop that was not hit first.
        _see(state, state.target, open_ if target_at_open else worst if not hit_stop else state.stop)
        close_position(state, trades, bar, state.target, rules.maker_fee, TAKE_PROFIT)


@numba.njit(cache=True, error_model="numpy", inline="always")
def decide(state: State, bar: int, buy: bool, sell: bool, rules: Rules) -> None:
    """Turn the signals at a close, and the time limit, into orders for the next open.

    A bar that says both buy and sell enters nothing, yet closes what the opposite signal closes.
    """
    side = state.side
    if side == 0:
        if buy and not sell and rules.trade_long:
            state.enter = 1
        elif sell and not buy and rules.trade_short:
            state.enter = -1
    elif sell if side > 0 else buy:
        state.leave = SIGNAL
        if buy != sell and (rules.trade_short if side > 0 else rules.trade_long):
            state.enter = -side
    elif bar - state.entry_bar + 1 >= rules.max_bars:
        state.leave = MAX_BARS


@numba.njit(cache=True, error_model="numpy", inline="always")
def open_position(state: State, bar: int, side: int, price: float, rules: Rules) -> None:
    """Enter at a fill price; notional and fee together are `fraction` of the cash.

    Nothing happens without cash: a short position may have lost it all.
    """
    if not state.cash > 0 or not rules.fraction > 0:
        return
    notional = rules.fraction * state.cash / (1 + rules.taker_fee)
    qty = notional / price
    fee = notional * rules.taker_fee
    state.side = side
    state.qty = side * qty
    state.cash -= state.qty * price + fee
    state.entry_price = price
    state.entry_fee = fee
    state.entry_bar = bar
    state.best = price
    state.worst = price
    state.target = price * (1 + side * rules.take_profit)
    if rules.trailing_stop < rules.stop_loss:
        state.stop = price * (1 - side * rules.trailing_stop)
        state.stop_reason = TRAILING_STOP
    else:
        state.stop = price * (1 - side * rules.stop_loss)
        state.stop_reason = STOP_LOSS


@numba.njit(cache=True, error_model="numpy", inline="always")
def close_position(state: State, trades: Sequence[Trade], bar: int, price: float, fee_rate: float, reason: int) -> None:
    """Leave at a fill price and add the trade to the ledger."""
    side, qty = state.side, abs(state.qty)
    exit_fee = qty * price * fee_rate
    fees = state.entry_fee + exit_fee
    pnl = state.qty * (price - state.entry_price) - fees
    state.cash += state.qty * price - exit_fee
    trade = trades[state.trades]
    trade.side = side
    trade.entry_bar = state.entry_bar
    trade.exit_bar = bar
    trade.entry_price = state.entry_price
    trade.exit_price = price
    trade.qty = qty
    trade.fees = fees
    trade.pnl = pnl
    trade.return_ = pnl / (qty * state.entry_price)
    trade.reason = reason
    trade.mae = side * (state.worst / state.entry_price - 1)
    trade.mfe = side * (state.best / state.entry_price - 1)
    state.trades += 1
    state.side = 0
    state.qty = 0.0
    state.leave = 0


@numba.njit(cache=True, error_model="numpy", inline="always")
def finish(state: State, trades: Sequence[Trade], bar: int, close: float, rules: Rules) -> float:
    """End of the data: close what is open at the last close, at a market order's cost; the final equity."""
    if state.side != 0:
        close_position(state, trades, bar, close * (1 - state.side * rules.slip), rules.taker_fee, END)
    state.enter = 0
    return state.cash


@numba.njit(cache=True, error_model="numpy", inline="always")
def _see(state: State, best: float, worst: float) -> None:
    if state.side * (best - state.best) > 0:
        state.best = best
    if state.side * (worst - state.worst) < 0:
        state.worst = worst
