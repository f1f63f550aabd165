"""Live trading's decisions as orders: what the core wants of each symbol, held against what the order desk has.

Nothing here remembers what it has sent: it looks at the core's state and at the books, and says what is missing. So it
does the same after a crash as before it.
"""

from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Any

from pipeline.config import Config
from pipeline.exchange.port import AccountChange, Request
from pipeline.live import protecting
from pipeline.live.desk import Desk
from pipeline.live.effects import Effect, Write
from pipeline.live.plans import plan_of
from pipeline.live.portfolio import Portfolio
from pipeline.live.records import Protection
from pipeline.live.strategy import Outlook
from pipeline.live.telling import Tell
from pipeline.live.trading import decide, flattening
from pipeline.trading.filters import SymbolFilters, exact
from pipeline.trading.market import CLOSE
from pipeline.trading.orders import Intent, State
from pipeline.trading.reasons import CODES
from pipeline.trading.records import BREAKER, EXIT_REASONS

# A stop or target that differs by less than this share of its price is left where it is: moving it leaves the position
# without one for a moment.
SAME_LEVEL = Decimal("0.0001")
# Of the free balance, what an order may use: prices move while it is on its way.
_USABLE = Decimal("0.998")
# After an exit that did not end the position, ms until the next attempt, twice as long each time; a bar at most.
_AGAIN_MS, _LONGEST_MS = 1000, 60_000


class LiveTrader:
    """Orders for what the core decides.

    rules: filters by symbol. now_ms: the clock of the records. sends: whether orders are sent at all.
    prices: bid and ask by symbol, kept up to date by their owner; needed by plans that are not market orders.
    """

    def __init__(
        self,
        config: Config,
        portfolio: Portfolio,
        desk: Desk,
        rules: Mapping[str, SymbolFilters],
        now_ms: Callable[[], int],
        tell: Tell,
    ) -> None:
        self.portfolio, self.desk = portfolio, desk
        self.balances: dict[str, Decimal] = {}
        self.free: dict[str, Decimal] = {}
        self.balance_ms = 0
        self.prices: dict[str, tuple[Decimal, Decimal, int]] = {}
        self._config, self._rules, self._now_ms, self._tell = config, rules, now_ms, tell
        self._sends = not config.serve.no_trades_only_data_processing
        self._tried: dict[tuple[str, int], tuple[int, int, int]] = {}
        self._entries: list[int] = []
        self._moved_ms: dict[str, int] = {}
        # Best prices of ticks, by symbol, each with the bar that its position was entered at.
        self._best: dict[str, tuple[int, float]] = {}

    # What happens

    def on_bar(self, outlook: Outlook, refuse: Mapping[str, int], facts: Mapping[str, Any]) -> list[Effect]:
        """The core's decisions; `react` makes orders of them once they are written down."""
        if self._config.serve.stop_limit_band is not None and not facts["late"]:
            # The book is followed as well; if it is silent, this is better than none.
            for symbol, close in zip(self.portfolio.symbols, outlook.market.numbers[CLOSE, :, 0], strict=True):
                if close > 0:
                    self.desk.priced(symbol, exact(float(close)), exact(float(close)))
        return [decide(self.portfolio, outlook, refuse, facts)]

    def flatten(self, reason: int, symbols: Collection[str]) -> list[Effect]:
        """Cancel entries, and leave positions."""
        effects = flattening(self.portfolio, reason, symbols)
        for symbol in symbols:
            effects += self._cancel_entries(symbol, None)
        return effects

    def _cancel_entries(self, symbol: str, names: Collection[str] | None) -> list[Effect]:
        """Cancel entries and their plans, those of some names or all, each once."""
        books, effects = self.desk.books, list[Effect]()
        for work in books.works_of(symbol):
            if not work.reduce_only and (names is None or work.id in names):
                effects += self.desk.cancel(work.id, self._now_ms())
        for entry in books.open(symbol):
            order, own = entry.order, {entry.order.client_order_id, entry.work}
            can_be = not (order.reduce_only or entry.cancelled or order.state == State.INTENT)
            if can_be and (names is None or not own.isdisjoint(names)):
                effects += self.desk.cancel(order.client_order_id, self._now_ms())
        return effects

    def heard(self, change: AccountChange, now_ms: int) -> None:
        """Balances, all or those that changed."""
        self.balances.update({asset: free + locked for asset, (free, locked) in change.balances.items()})
        self.free.update({asset: free for asset, (free, _) in change.balances.items()})
        self.balance_ms = now_ms

    def refusals(self, now_ms: int) -> dict[str, int]:
        """What stands against entries of each symbol."""
        if not self._config.risk.enabled:
            return {s: CODES["halted"] for s in self.portfolio.symbols if s in self.desk.books.halted}
        gates, limits = self._config.risk.gates, self._config.risk.limits
        self._entries = [at for at in self._entries if at > now_ms - 1000]
        refuse: dict[str, int] = {}
        for symbol in self.portfolio.symbols:
            if symbol in self.desk.books.halted:
                refuse[symbol] = CODES["halted"]
            elif now_ms - self.balance_ms > gates.max_balance_age * 1000:
                # One that was never told is too old as well.
                refuse[symbol] = CODES["stale_balance"]
            elif len(self._entries) >= limits.orders_per_second:
                refuse[symbol] = CODES["orders_per_second"]
            elif gates.spread is not None and self._spread_bps(symbol, now_ms) > gates.spread.max_bps:
                refuse[symbol] = CODES["wide_spread"]
        return refuse

    def react(self, symbol: str) -> list[Effect]:
        """What is due for a symbol now."""
        if closed := self.portfolio.closed:
            return [Write("TRADE", trade) for trade in closed.values()]
        # Another symbol of the account has orders of its own.
        if not self._sends or symbol not in self.portfolio.symbols:
            return []
        position = self.portfolio.position(symbol)
        if position["side"] != 0 and self._is_over(symbol):
            return [Write("DUST", {"symbol": symbol})]
        return self._stop_trading(symbol) or self._follow(symbol)

    def _follow(self, symbol: str) -> list[Effect]:
        """Do what the core wants of a symbol."""
        position = self.portfolio.position(symbol)
        if position["side"] != 0 and position["leave"] != 0:
            return self._exit(symbol)
        if position["enter"] != 0 and position["side"] == 0:
            return self._enter(symbol)
        if position["side"] != 0 and self._config.serve.protect:
            return self._guard(symbol)
        return []

    def _stop_trading(self, symbol: str) -> list[Effect]:
        """What a breaker or a person has ended, and is not ended yet: an entry may be filled after it was given up."""
        portfolio = self.portfolio
        if portfolio.account["halted"][0]:
            return self.flatten(BREAKER, [symbol])
        if effects := self._cancel_entries(symbol, portfolio.unwanted):
            return effects
        position, books = portfolio.position(symbol), self.desk.books
        if portfolio.paused and position["enter"] != 0 and position["side"] == 0:
            entering = [one for one in books.open(symbol) if not one.order.reduce_only]
            if not entering and not books.works_of(symbol):
                return [Write("LAPSE", {"symbol": symbol, "reason": "paused"})]
        return []

    def on_tick(self, symbol: str, bid: Decimal, ask: Decimal, now_ms: int) -> list[Effect]:
        """The best prices of the book: plans and trailing stops follow them."""
        self.prices[symbol] = bid, ask, now_ms
        self.desk.priced(symbol, bid, ask)
        effects = self.desk.tick(symbol, bid, ask, now_ms) if self.desk.books.works_of(symbol) else []
        return effects + self._trail(symbol, float(bid), now_ms)

    # Exits

    def _exit(self, symbol: str) -> list[Effect]:
        books, now = self.desk.books, self._now_ms()
        busy = symbol in books.leaving or any(work.reduce_only for work in books.works_of(symbol))
        if busy or any(one.order.leg == "exit" for one in books.open(symbol)) or books.unresolved(symbol):
            return []
        key = (symbol, int(self.portfolio.position(symbol)["entry_bar"]))
        open_time = self.portfolio.last_open_ms or 0
        attempt, again_ms, bar = self._tried.get(key, (0, 0, 0))
        if now < again_ms and open_time == bar:
            return []
        qty = self._sellable(symbol)
        if qty == 0:
            if not books.open(symbol):
                # What is left cannot be sold.
                return [Write("DUST", {"symbol": symbol})]
            return []
        intent = Intent(self.portfolio.bundle, symbol, open_time, "exit", attempt)
        while books.is_ours(intent.client_order_id):
            attempt += 1
            intent = Intent(self.portfolio.bundle, symbol, open_time, "exit", attempt)
        wait = min(_AGAIN_MS * 2 ** min(attempt, 10), _LONGEST_MS)
        self._tried = {one: tried for one, tried in self._tried.items() if one[0] != symbol}
        self._tried[key] = attempt + 1, now + wait, open_time
        plan = plan_of(self._config.serve.exit, "SELL", qty, self._rules[symbol], now) if attempt == 0 else None
        reason = EXIT_REASONS[int(self.portfolio.position(symbol)["leave"])]
        self._tell(
            "order", symbol=symbol, side="sell", qty=str(qty), leg="exit", reason=reason,
            client_order_id=intent.client_order_id,
        )  # fmt: skip
        if plan is not None:
            return self.desk.work(plan, intent, now, reduce_only=True)
        request = Request(symbol, "SELL", "MARKET", qty, intent.client_order_id)
        return self.desk.order(intent, request, now, reduce_only=True)

    def _sellable(self, symbol: str) -> Decimal:
        """What is held and can be sold: whole lots, worth at least the smallest order."""
        rules = self._rules[symbol]
        qty = protecting.sellable(self.desk.books, symbol, rules)
        worth = qty * exact(float(self.portfolio.position(symbol)["mark"]))
        return qty if worth >= rules.min_notional or not rules.min_notional_for_market else Decimal(0)

    def _is_over(self, symbol: str) -> bool:
        """Whether exits have left too little of a position to be sold, and nothing of it is on its way any more."""
        books = self.desk.books
        if symbol not in self.portfolio.left_by or symbol in books.leaving or books.works_of(symbol):
            return False
        return not (books.open(symbol) or books.unresolved(symbol) or self._sellable(symbol))

    # Entries

    def _enter(self, symbol: str) -> list[Effect]:
        now = self._now_ms()
        intent = Intent(self.portfolio.bundle, symbol, self.portfolio.last_open_ms or 0, "entry")
        if self._is_tried(intent):
            return []
        if now - self.portfolio.closed_ms > self._config.serve.max_decision_age * 1000:
            return [Write("LAPSE", {"symbol": symbol, "reason": "too late"})]
        if not self.desk.is_clear(symbol):
            return []
        position, rules = self.portfolio.position(symbol), self._rules[symbol]
        price = exact(float(position["mark"]))
        adjust = self._config.serve.limit_price_adjustment
        limit = None if adjust is None else rules.round_price(price * (1 + exact(adjust)), "BUY")
        qty, refusal = self._qty(symbol, float(position["spend"]), limit or price, limit is None)
        protection = self._protection(symbol, intent.open_time_ms, price)
        if refusal := refusal or self._bare(symbol, qty, protection):
            return [Write("LAPSE", {"symbol": symbol, "reason": refusal})]
        self._entries.append(now)
        self._tell(
            "order", symbol=symbol, side="buy", qty=str(qty), leg="entry", price=str(limit or price),
            client_order_id=intent.client_order_id,
        )  # fmt: skip
        return self._sent(intent, qty, limit, protection, now)

    def _is_tried(self, intent: Intent) -> bool:
        symbol, books = intent.symbol, self.desk.books
        under_way = bool(self.portfolio.entering(symbol))
        return under_way or books.is_ours(intent.client_order_id) or bool(books.works_of(symbol))

    def _sent(
        self, intent: Intent, qty: Decimal, limit: Decimal | None, protection: Protection | None, now: int
    ) -> list[Effect]:
        """An entry, worked into the market as the config says."""
        desk, symbol = self.desk, intent.symbol
        plan = None if limit is not None else plan_of(self._config.serve.entry, "BUY", qty, self._rules[symbol], now)
        if plan is not None:
            return desk.work(plan, intent, now, protection=protection, expires_ms=self._expires_ms())
        kind, tif = ("MARKET", None) if limit is None else ("LIMIT", "GTC")
        request = Request(symbol, "BUY", kind, qty, intent.client_order_id, limit, tif=tif)
        if limit is not None and protection is not None:
            return desk.order_protected(intent, request, protection, now)
        return desk.order(intent, request, now, protection=protection)

    def _qty(self, symbol: str, spend: float, price: Decimal, market: bool) -> tuple[Decimal, str]:
        """Base asset to buy, in whole lots, or why none."""
        rules = self._rules[symbol]
        amount = exact(spend)
        quote = symbol.removeprefix(rules.base_asset) if rules.base_asset else ""
        free = self.free.get(quote)
        if free is not None:
            amount = min(amount, (free - self._committed()) * _USABLE)
        qty = rules.floor_qty(amount / (1 + exact(self.portfolio.rules.taker_fee)) / price, market=market)
        least = max(rules.min_notional, exact(self._config.serve.min_notional_usdt))
        if qty <= 0 or qty * price < least:
            return qty, f"{qty * price:f} is below the smallest order of {least:f}"
        return qty, ""

    def _expires_ms(self) -> int:
        """Until when the plan of an entry may go on, also if it is taken up again after a crash: its bar grows old."""
        serve = self._config.serve
        longest = {"twap": serve.entry.duration, "pov": self._config.step_ms / 1000}.get(serve.entry.plan, 0.0)
        return self.portfolio.closed_ms + int((serve.max_decision_age + max(longest, serve.entry.deadline)) * 1000)

    def _committed(self) -> Decimal:
        """Quote asset that entries are about to take, and that the balance does not show yet: symbols share it."""
        books = self.desk.books
        buys = [
            (one.order.intent.symbol, one.order.remaining, one.order.price) for one in books.all_open()
            if not one.order.reduce_only and not one.work and (one.is_unresolved or one.order.state == State.INTENT)
        ]  # fmt: skip
        buys += [
            (work.intent.symbol, work.plan.qty - work.plan.filled, None) for work in books.works.values()
            if not work.reduce_only
        ]  # fmt: skip
        fee, known = exact(self.portfolio.rules.taker_fee), self.portfolio.symbols
        return sum(
            (
                qty * (price or exact(float(self.portfolio.position(symbol)["mark"]))) * (1 + fee)
                for symbol, qty, price in buys if symbol in known
            ),
            Decimal(0),
        )  # fmt: skip

    def _bare(self, symbol: str, qty: Decimal, wanted: Protection | None) -> str:
        """Why a position of so much could not be protected, empty if it can: its stop would be too small an order."""
        if wanted is None:
            return ""
        rules = self._rules[symbol]
        left = rules.floor_qty(qty * (1 - protecting.FEE_ROOM), market=wanted.stop_limit is None)
        worth = left * min(wanted.stop, wanted.stop_limit or wanted.stop)
        if left > 0 and worth >= rules.min_notional:
            return ""
        return f"a stop of {worth:f} is below the smallest order of {rules.min_notional:f}"

    # Stops

    def _protection(self, symbol: str, open_time_ms: int, price: Decimal) -> Protection | None:
        """What an entry at about a price is to be protected by."""
        position = self.portfolio.position(symbol)
        rules = self.portfolio.rules
        distance = float(position["stop_distance"])
        if rules.trail_after <= 0:
            distance = min(distance, float(position["trail_distance"]))
        if not self._config.serve.protect or not distance < 1:
            return None
        target = float(position["target_distance"])
        return self._rounded(
            symbol, open_time_ms, float(price) * (1 - distance), float(price) * (1 + target) if target < 1e6 else None
        )

    def _rounded(self, symbol: str, open_time_ms: int, stop: float, target: float | None) -> Protection:
        band = self._config.serve.stop_limit_band
        stop_ = exact(stop)
        wanted = Protection(
            self.portfolio.bundle, open_time_ms, stop_, None if target is None else exact(target),
            None if band is None else stop_ * (1 - exact(band)),
        )  # fmt: skip
        return protecting.rounded(wanted, self._rules[symbol])

    def _guard(self, symbol: str) -> list[Effect]:
        """The levels of the core, on the exchange."""
        position, books = self.portfolio.position(symbol), self.desk.books
        stop, target = float(position["stop"]), float(position["target"])
        if not 0 < stop < float("inf"):
            return []
        resting = books.protections.get(symbol)
        opened = resting.open_time_ms if resting else self.portfolio.last_open_ms or 0
        wanted = self._rounded(symbol, opened, stop, target if target < float("inf") else None)
        if resting is not None:
            same = _near(resting.stop, wanted.stop) and _near(resting.target, wanted.target)
            # A pair that the exchange refuses is placed as a stop alone, which stays so.
            lone = resting.target is None and wanted.target is not None and _near(resting.stop, wanted.stop)
            if same or lone or wanted.stop < resting.stop:
                return []
        elif not protecting.coverable(books, symbol, wanted, self._rules[symbol]):
            return []
        return self.desk.protect(symbol, wanted, self._now_ms())

    def _trail(self, symbol: str, bid: float, now_ms: int) -> list[Effect]:
        """Move a trailing stop behind the best price, at most every so often; the core does the same at each close."""
        position, rules = self.portfolio.position(symbol), self.portfolio.rules
        distance = float(position["trail_distance"])
        if position["side"] <= 0 or not distance < 1 or rules.trail_from_close or position["leave"] != 0:
            return []
        # The core's own best price moves with what the journal says; a tick is not in it.
        entered = int(position["entry_bar"])
        bar, seen = self._best.get(symbol, (entered, 0.0))
        best = max(float(position["best"]), bid, seen if bar == entered else 0.0)
        self._best[symbol] = entered, best
        if best / float(position["entry_price"]) - 1 < rules.trail_after:
            return []
        stop = exact(best * (1 - distance))
        resting = self.desk.books.protections.get(symbol)
        if resting is None or stop <= resting.stop * (1 + SAME_LEVEL):
            return []
        if now_ms - self._moved_ms.get(symbol, 0) < self._config.serve.trailing_interval * 1000:
            return []
        self._moved_ms[symbol] = now_ms
        return self.desk.move_stop(symbol, stop, now_ms)

    def _spread_bps(self, symbol: str, now_ms: int) -> float:
        bid, ask, at = self.prices.get(symbol, (Decimal(0), Decimal(0), 0))
        if bid <= 0 or now_ms - at > self._config.risk.gates.max_price_age * 1000:
            return float("inf")
        return float((ask - bid) / bid * 10_000)


def _near(one: Decimal | None, other: Decimal | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= SAME_LEVEL * other
