"""The trading core: one `step` per bar over all symbols, compiled once, the same for history and for the market.

A bar is lived through in four parts, of which the first two are the fill model:

1. at the open, funding is paid, and orders decided at an earlier close are filled at the open price plus
   slippage and half the spread: first exits, then entries;
2. inside the bar, liquidation, stop and target are filled where the price reached them;
3. at the close, positions are marked, stops follow, and the breakers look at the equity;
4. then signals become orders for the next open, if no rule refuses.

Symbols stand in the order of their names; entries of one bar are granted by the size of their scores, equal
ones by name; several exits of one bar are booked, and losses in a row counted, by name. So the result does
not depend on the order in which a config lists them.

Made-up bars (exchange silent) fill nothing: an entry lapses on them, because its score is stale when
trading resumes; an exit waits.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.trading.compiled import compiled
from pipeline.trading.costs import slippage
from pipeline.trading.entries import grant_entries
from pipeline.trading.exits import follow, touch_levels
from pipeline.trading.filters import step_floor
from pipeline.trading.market import (
    ATR,
    BUY,
    CLOSE,
    FAILS,
    FILLED,
    FUNDING,
    HIGH,
    LOW,
    MARK_HIGH,
    MARK_LOW,
    MARK_OPEN,
    MIN_QTY,
    OPEN,
    SELL,
    STEP,
    TICK,
    VOLATILITY,
    VOLUME,
    Market,
)  # fmt: skip
from pipeline.trading.market import MIN_NOTIONAL as SMALLEST
from pipeline.trading.positions import close_position, close_some, open_position, pay_slip, see
from pipeline.trading.reasons import DAILY_LOSS, DRAWDOWN, HALTED, LAPSED, MIN_NOTIONAL, NO_CASH, TRADED
from pipeline.trading.records import BREAKER, END, MAX_BARS, SESSION_END, SIGNAL, Account, Position, Trade
from pipeline.trading.rules import DAY_MS, Rules

Positions = npt.NDArray
Counts = npt.NDArray[np.int64]


@compiled(inline="always")
def step(
    account: Account,
    positions: Positions,
    trades: Sequence[Trade],
    refused: Counts,
    signals: npt.NDArray[np.uint8],
    bar: int,
    at: int,
    market: Market,
    rules: Rules,
) -> float:
    """Live through one closed bar and decide what to do at the next open.

    account: record ACCOUNT; positions: POSITION [symbols], an array or a tuple; both changed in place. trades:
    ledger TRADE, with room for two more of each symbol, to which closed trades are added. refused: int64
    [reasons.COUNT], signals counted by what became of them. signals: codes of the bar's signals [symbols]. bar:
    its number since the start of the data. at: its column in `market`. Returns the equity at the close.
    """
    start_day(account, bar, rules)
    fill(account, positions, trades, refused, bar, at, market, rules)
    return close(account, positions, refused, signals, bar, at, market, rules)


@compiled(inline="always")
def fill(
    account: Account,
    positions: Positions,
    trades: Sequence[Trade],
    refused: Counts,
    bar: int,
    at: int,
    market: Market,
    rules: Rules,
) -> None:
    """The fill model: what a bar makes of the orders that wait, and of stops and targets."""
    # Positions are touched here and in `close` alone and never handed on: compiled code counts references at each
    # hand-over, which takes longer than the rules themselves.
    symbols = len(positions)
    numbers, flags, filters, marks = market.numbers, market.flags, market.filters, market.marks
    has_marks = marks.shape[2] > 0
    for s in range(symbols):
        position = positions[s]
        if position.side != 0:
            exit_at_open(
                account, position, trades[account.trades], s, bar, numbers[OPEN, s, at], numbers[VOLUME, s, at],
                position.volatility, marks[MARK_OPEN, s, at] if has_marks else position.mark, numbers[FUNDING, s, at],
                flags[FILLED, s, at] == 0 and flags[FAILS, s, at] == 0, rules,
            )  # fmt: skip
    for s in range(symbols):
        position = positions[s]
        if position.enter != 0 and (bar >= position.enter_bar or flags[FILLED, s, at] != 0):
            equity, gross = account.cash, 0.0
            for j in range(symbols):
                equity += positions[j].qty * positions[j].mark
                gross += abs(positions[j].qty) * positions[j].mark
            lapsed = LAPSED
            # It lapses on a made-up bar, if the exit that it was to follow is not done, or if it fails.
            if flags[FILLED, s, at] == 0 and position.side == 0 and flags[FAILS, s, at] == 0:
                lapsed = enter_at_open(
                    account, position, bar, rules.leverage * equity - gross, numbers[OPEN, s, at],
                    numbers[VOLUME, s, at], position.volatility, filters[s, TICK], filters[s, STEP],
                    filters[s, MIN_QTY], filters[s, SMALLEST], rules,
                )  # fmt: skip
            position.enter = 0
            if lapsed != TRADED:
                refused[TRADED] -= 1
                refused[lapsed] += 1
    for s in range(symbols):
        position = positions[s]
        if flags[FILLED, s, at] == 0 and position.side != 0:
            touch_levels(
                account, position, trades[account.trades], s, bar, numbers[OPEN, s, at], numbers[HIGH, s, at],
                numbers[LOW, s, at], marks[MARK_OPEN, s, at] if has_marks else numbers[OPEN, s, at],
                marks[MARK_HIGH, s, at] if has_marks else numbers[HIGH, s, at],
                marks[MARK_LOW, s, at] if has_marks else numbers[LOW, s, at], numbers[VOLUME, s, at],
                position.volatility, rules,
            )  # fmt: skip


@compiled(inline="always")
def close(
    account: Account,
    positions: Positions,
    refused: Counts,
    signals: npt.NDArray[np.uint8],
    bar: int,
    at: int,
    market: Market,
    rules: Rules,
) -> float:
    """The decisions at a bar's close, wherever its fills came from; returns the equity."""
    symbols = len(positions)
    numbers, flags = market.numbers, market.flags
    for s in range(symbols):
        position = positions[s]
        if flags[FILLED, s, at] == 0:
            position.mark = numbers[CLOSE, s, at]
            position.volatility = numbers[VOLATILITY, s, at]
            if position.side != 0:
                follow(position, numbers[CLOSE, s, at], numbers[ATR, s, at], market.filters[s, TICK], rules)
    value, asked = account.cash, False
    for s in range(symbols):
        value += positions[s].qty * positions[s].mark
    account.equity = value
    account.day_peak = max(account.day_peak, value)
    watch(account, rules)
    for s in range(symbols):
        position = positions[s]
        if account.halted != 0:
            if position.enter != 0:
                position.enter = 0
                refused[TRADED] -= 1
                refused[HALTED] += 1
            if position.side != 0 and position.leave == 0:
                position.leave = BREAKER
                position.leave_bar = bar + 1 + rules.latency
        if flags[FILLED, s, at] == 0:
            position.ask = decide(position, signals[s], bar, rules)
            asked = asked or position.ask != 0
    if asked:
        grant_entries(account, positions, refused, bar, at, market, rules)
    return account.equity


@compiled()
def step_once(
    accounts: np.ndarray,
    positions: Positions,
    trades: np.ndarray,
    refused: Counts,
    signals: npt.NDArray[np.uint8],
    bar: int,
    at: int,
    market: Market,
    rules: np.ndarray,
) -> float:
    """`step` for a caller that is not compiled, as live: arrays [1] of one ACCOUNT and one RULES, the rest the same.

    Python hands over an array three times as fast as a record, of which numpy spells out every field each time.
    """
    equity: float = step(accounts[0], positions, trades, refused, signals, bar, at, market, rules[0])
    return equity


@compiled()
def close_once(
    accounts: np.ndarray,
    positions: Positions,
    refused: Counts,
    signals: npt.NDArray[np.uint8],
    bar: int,
    at: int,
    market: Market,
    rules: np.ndarray,
) -> float:
    """The part of `step` that is left when an exchange fills the orders: excursions, marks, breakers, decisions.

    Arguments as of `step_once`.
    """
    account = accounts[0]
    start_day(account, bar, rules[0])
    for s in range(len(positions)):
        position = positions[s]
        if position.side != 0 and market.flags[FILLED, s, at] == 0:
            high, low = market.numbers[HIGH, s, at], market.numbers[LOW, s, at]
            see(position, high if position.side > 0 else low, low if position.side > 0 else high)
    equity: float = close(account, positions, refused, signals, bar, at, market, rules[0])
    return equity


@compiled(inline="always")
def start_day(account: Account, bar: int, rules: Rules) -> None:
    """Anchor the breakers anew on the first bar of a UTC day."""
    if bar >= account.next_day_bar:
        account.day = (rules.origin_ms + bar * rules.step_ms) // DAY_MS
        account.next_day_bar = -((rules.origin_ms - (account.day + 1) * DAY_MS) // rules.step_ms)
        account.day_start = account.day_peak = account.equity
        account.entries_today = 0
        if rules.reset_next_day and account.halted <= DRAWDOWN:
            account.halted = 0


@compiled(inline="always")
def exit_at_open(
    account: Account,
    position: Position,
    trade: Trade,
    s: int,
    bar: int,
    open_: float,
    volume: float,
    volatility: float,
    mark: float,
    funding: float,
    fills: bool,
    rules: Rules,
) -> None:
    """Pay the funding that is due, and fill a waiting exit, as far as the bar's volume goes.

    trade: the next free row of the ledger. mark: the price that funding is counted by. fills: whether the bar is real
    and its orders do not fail.
    """
    if rules.pays_funding and funding != 0:
        paid = position.qty * mark * funding
        account.cash -= paid
        account.funding += paid
        position.funding += paid
    if position.leave == 0 or bar < position.leave_bar or not fills:
        return
    side, qty = position.side, abs(position.qty)
    see(position, open_, open_)
    part = min(qty, rules.participation * volume / open_) if rules.participation < np.inf else qty
    slip = slippage(part * open_, volume, volatility, rules)
    pay_slip(account, position, part * open_, slip, rules)
    price = open_ * (1 - side * slip)
    if part < qty:
        close_some(account, position, part, price, rules.taker_fee)
    else:
        close_position(account, position, trade, s, bar, price, rules.taker_fee, position.leave, rules)


@compiled(inline="always")
def enter_at_open(
    account: Account,
    position: Position,
    bar: int,
    budget: float,
    open_: float,
    volume: float,
    volatility: float,
    tick: float,
    step_size: float,
    min_qty: float,
    min_notional: float,
    rules: Rules,
) -> int:
    """Fill a waiting entry, cut to the budget and the bar's volume; TRADED, or why it lapsed."""
    side = position.enter
    spend = min(position.spend, budget)
    if not spend > 0:
        return NO_CASH
    notional = spend / (1 + rules.taker_fee)
    if rules.participation < np.inf:
        notional = min(notional, rules.participation * volume)
    slip = slippage(notional, volume, volatility, rules)
    price = open_ * (1 + side * slip)
    qty = step_floor(notional / price, step_size)
    if not qty > 0 or qty < min_qty or qty * price < min_notional:
        return MIN_NOTIONAL
    open_position(account, position, bar, side, qty, price, slip, tick, rules)
    return TRADED


@compiled(inline="always")
def floor_of(account: Account, rules: Rules) -> float:
    """Equity at or below which a breaker stops trading."""
    floor = -np.inf
    if rules.daily_loss < np.inf:
        floor = account.day_start * (1 - rules.daily_loss)
    if rules.drawdown < np.inf:
        floor = max(floor, account.day_peak * (1 - rules.drawdown))
    return floor


@compiled(inline="always")
def watch(account: Account, rules: Rules) -> None:
    """Let the breakers look at the equity; a breach is latched."""
    if account.halted == 0 and account.equity <= floor_of(account, rules):
        at_loss = rules.daily_loss < np.inf and account.equity <= account.day_start * (1 - rules.daily_loss)
        account.halted = DAILY_LOSS if at_loss else DRAWDOWN
        account.halts += 1


@compiled(inline="always")
def decide(position: Position, signal: int, bar: int, rules: Rules) -> int:
    """Order the exit that is due at a close; returns the side that the signal asks to enter, 0 for none.

    A bar that says both buy and sell enters nothing, yet closes what the opposite signal closes.
    """
    side = position.side
    buy, sell = signal & BUY != 0, signal & SELL != 0
    if side == 0:
        if position.enter != 0:
            return 0
        if buy and not sell and rules.trade_long:
            return 1
        return -1 if sell and not buy and rules.trade_short else 0
    if position.leave != 0:
        return 0
    if sell if side > 0 else buy:
        position.leave = SIGNAL
        position.leave_bar = bar + 1 + rules.latency
        return -side if buy != sell and (rules.trade_short if side > 0 else rules.trade_long) else 0
    if bar - position.entry_bar + 1 >= rules.max_bars:
        position.leave = MAX_BARS
        position.leave_bar = bar + 1 + rules.latency
    elif (
        rules.session_flatten and (rules.origin_ms + (bar + 1) * rules.step_ms - 1) % DAY_MS + 1 >= rules.session_end_ms
    ):
        position.leave = SESSION_END
        position.leave_bar = bar + 1 + rules.latency
    return 0


@compiled()
def finish(
    account: Account,
    positions: Positions,
    trades: Sequence[Trade],
    refused: Counts,
    bar: int,
    at: int,
    market: Market,
    rules: Rules,
) -> float:
    """End of the data: close what is open at the last close, at a market order's cost; the final equity."""
    for s in range(len(positions)):
        position = positions[s]
        if position.side != 0:
            value = abs(position.qty) * position.mark
            slip = slippage(value, market.numbers[VOLUME, s, at], position.volatility, rules)
            pay_slip(account, position, value, slip, rules)
            price = position.mark * (1 - position.side * slip)
            close_position(account, position, trades[account.trades], s, bar, price, rules.taker_fee, END, rules)
        if position.enter != 0:
            position.enter = 0
            refused[TRADED] -= 1
            refused[LAPSED] += 1
    account.equity = account.cash
    return account.cash
