"""The futures market without any wire: the exchange's engine with positions instead of balances of coins.

Time, matching and journal are the engine's own. What differs is what a fill does (positions, margin, profit), what
happens beside orders (funding at an open, before the price jumps there; liquidation), and what is told.

A symbol's mark price is a market place of its own, without orders, that lives through the same moments. It liquidates,
and triggers conditional orders of that working type, at the end of each of them: what waits for the last price comes
first. Where it is not known the last price stands in its place, and a liquidation is an order that waits for it.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from pipeline.errors import BadInput
from pipeline.exchange.local.accounts import Account
from pipeline.exchange.local.engine import Engine
from pipeline.exchange.local.errors import ApiError
from pipeline.exchange.local.futures import checks, marks, reports, triggers
from pipeline.exchange.local.futures.funding import Funding, Rates
from pipeline.exchange.local.futures.orders import FIRST_ALGO, LIQUIDATION, AlgoOrder, Fill, FuturesOrder
from pipeline.exchange.local.futures.positions import Income, Position, Wallet
from pipeline.exchange.local.futures.requests import Request
from pipeline.exchange.local.futures.rules import Brackets, Futures
from pipeline.exchange.local.history import Series
from pipeline.exchange.local.instruments import Instrument
from pipeline.exchange.local.journal import Journal
from pipeline.exchange.local.matching import MarketModel, Pit
from pipeline.exchange.local.numbers import ZERO, cut, ratio, text, times
from pipeline.exchange.local.orders import Order, Trade
from pipeline.exchange.local.requests import Ticket

_IMMEDIATE = (-2021, "Order would immediately trigger.")


class FuturesEngine(Engine):
    """Perpetual contracts, replayed bar by bar, and the accounts that trade them. rates: of funding, mark_prices: the
    mark price at the bars of `series`, by symbol."""

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        series: Mapping[str, Series],
        accounts: list[Account],
        *,
        start_ms: int = 0,
        seed: int = 0,
        model: MarketModel | None = None,
        journal: Journal | None = None,
        futures: Futures | None = None,
        rates: Mapping[str, Rates] | None = None,
        mark_prices: Mapping[str, Series] | None = None,
    ) -> None:
        self.futures = futures or Futures.model_validate({})
        self.brackets = Brackets(self.futures.brackets)
        self.funding = Funding(self.futures, rates or {})
        self.wallets: dict[str, Wallet] = {}
        self.algos: dict[int, AlgoOrder] = {}
        self._funded: dict[str, int] = {}
        self._marked = dict(mark_prices or {})
        # Of symbols whose mark price is known, from their first bar on.
        self.mark_pits: dict[str, Pit] = {}
        self._next_algo = FIRST_ALGO
        self._next_income = 1
        super().__init__(
            instruments, series, accounts, start_ms=start_ms, seed=seed, model=model, journal=journal
        )  # fmt: skip
        for account in accounts:
            # What it holds at the start was put in then; clients take a balance without a time for none.
            account.update_time = self.now

    # What an account has

    def wallet(self, account: Account) -> Wallet:
        """An account's positions and bookings."""
        if account.key not in self.wallets:
            self.wallets[account.key] = Wallet(account, self.futures.leverage)
        return self.wallets[account.key]

    def positions(self, account: Account, asset: str) -> list[Position]:
        """Of all symbols whose margin is an asset."""
        wallet = self.wallet(account)
        return [wallet.position(symbol) for symbol, one in self.instruments.items() if one.quote == asset]

    def wallet_balance(self, account: Account, asset: str) -> Decimal:
        """Free and bound in positions, without the profits of open ones."""
        return account.balance(asset).free + sum((one.margin for one in self.positions(account, asset)), ZERO)

    def open_notionals(self, account: Account, symbol: str, without: Order | None = None) -> tuple[Decimal, Decimal]:
        """What open buys and open sells that are not reduce-only would cost."""
        sums = {"BUY": ZERO, "SELL": ZERO}
        for one in self.open_orders(account):
            if one.symbol == symbol and one is not without and isinstance(one, FuturesOrder) and not one.reduce_only:
                sums[one.side] += times(one.price, one.remaining)
        return sums["BUY"], sums["SELL"]

    def order_margin(
        self, account: Account, symbol: str, adding: tuple[str, Decimal] = ("BUY", ZERO), without: Order | None = None
    ) -> tuple[Decimal, Decimal]:
        """Initial margin of a symbol's open orders beyond its position's, and the taker's fee on as much."""
        position = self.wallet(account).position(symbol)
        buys, sells = self.open_notionals(account, symbol, without)
        buys, sells = (buys + adding[1], sells) if adding[0] == "BUY" else (buys, sells + adding[1])
        held = position.side * position.cost
        beyond = max(abs(held + buys), abs(held - sells), position.cost) - position.cost
        return ratio(beyond, Decimal(position.leverage)), times(beyond, account.taker)

    def reserved(
        self,
        account: Account,
        asset: str,
        adding: tuple[str, str, Decimal] = ("", "BUY", ZERO),
        without: Order | None = None,
    ) -> Decimal:
        """Free balance that open orders need. adding: symbol, side and notional of one more."""
        total = ZERO
        for symbol, one in self.instruments.items():
            if one.quote == asset:
                extra = adding[1:] if symbol == adding[0] else ("BUY", ZERO)
                total += sum(self.order_margin(account, symbol, extra, without), ZERO)
        return total

    def available(self, account: Account, asset: str, without: Order | None = None) -> Decimal:
        """Free balance that no open order needs, at least 0."""
        return max(account.balance(asset).free - self.reserved(account, asset, without=without), ZERO)

    def open_algos(self, account: Account) -> list[AlgoOrder]:
        """Conditional orders that wait, oldest first."""
        return [one for one in self.algos.values() if one.account == account.key and one.status == "NEW"]

    # Time

    def mark(self, symbol: str) -> Decimal:
        """The mark price now."""
        return self.mark_pit(symbol).price

    def mark_pit(self, symbol: str) -> Pit:
        """Where the mark price of a symbol is known: beside the market, or in it."""
        pit = self.pits[symbol]
        if symbol in self._marked and symbol not in self.mark_pits:
            self.mark_pits[symbol] = Pit(pit.instrument, self._marked[symbol], pit.model, self, pit.position)
        return self.mark_pits.get(symbol, pit)

    def _open(self, pit: Pit) -> None:
        if (mark := self.mark_pit(pit.instrument.symbol)) is not pit:
            mark.begin()
        self._pay_funding(pit)
        super()._open(pit)

    def _settled(self, kind: str, **what: Any) -> None:
        if kind == "market":
            for symbol, mark in self.mark_pits.items():
                if marks.follow(self.pits[symbol], mark, self._turns[symbol]):
                    triggers.by_mark(self, mark)
        super()._settled(kind, **what)

    def waits_for_mark(self, order: AlgoOrder) -> bool:
        """Whether the mark price triggers a conditional order; a trailing one follows the last price."""
        return order.working_type == "MARK_PRICE" and not order.trailing and order.symbol in self.mark_pits

    def _pay_funding(self, pit: Pit) -> None:
        """What is due since the symbol's last bar, at the mark price; without one, at the last before this open."""
        symbol = pit.instrument.symbol
        mark = self.mark(symbol)
        since = self._funded.get(symbol, self.now)
        self._funded[symbol] = self.now
        for _, rate in self.funding.past(symbol, since + 1, self.now):
            for account in self.accounts.values():
                position = self.wallet(account).position(symbol)
                # Signed: longs pay a positive rate, shorts receive it.
                paid = position.side * times(times(position.size, mark), abs(rate)) * (-1 if rate < 0 else 1)
                if paid:
                    position.margin -= paid
                    self._book(account, "FUNDING_FEE", symbol, -paid)
                    self.moved(account, symbol, "FUNDING_FEE", -paid)

    # Orders

    def place(self, account: Account, ticket: Ticket) -> Order:
        """Orders of spot are not for this market. Raises ApiError."""
        raise ApiError(-1116, "This exchange trades futures; use /fapi.")

    def submit(self, account: Account, request: Request) -> FuturesOrder:
        """Place one order in the book. Raises ApiError: it is refused, and nothing has changed."""
        checks.check(self, account, request)
        checks.check_orders(self, account, request)
        order = self.draft(account, request)
        checks.check_funds(self, account, order)
        self.new_order(account, order, -1, None)
        self.start(order)
        return order

    def draft(self, account: Account, request: Request) -> FuturesOrder:
        """An order that is not placed."""
        return FuturesOrder(
            0, account.key, request.symbol, request.client_id or "", request.side, request.kind, request.tif,
            request.qty, self.now, request.price, update_time=self.now, reduce_only=request.reduce_only,
            original_kind=request.kind, working_type=request.working_type,
        )  # fmt: skip

    def submit_algo(self, account: Account, request: Request) -> AlgoOrder:
        """Place one conditional order. Raises ApiError."""
        checks.check(self, account, request)
        checks.check_algos(self, account, request)
        pit = self.pits[request.symbol]
        order = AlgoOrder(
            self._next_algo, account.key, request.symbol, request.client_id or "", request.side, request.kind,
            request.tif, request.qty, self.now, request.price, request.trigger, update_time=self.now,
            reduce_only=request.reduce_only, close_position=request.close_position,
            working_type=request.working_type, callback_rate=request.callback, trailing=int(request.callback * 100),
            armed=True,
        )  # fmt: skip
        by_mark = self.waits_for_mark(order)
        if not order.trailing and (self.mark_pits[order.symbol] if by_mark else pit).is_reached(order):
            raise ApiError(*_IMMEDIATE)
        order.client_id = order.client_id or self.client_id()
        self._next_algo += 1
        self.algos[order.id] = order
        if order.trailing and (not order.stop_price or pit.is_reached(order)):
            self.activated(order)
        if not by_mark:
            pit.open[order.id] = order
        self._tell_algo(order)
        return order

    def end_algo(self, order: AlgoOrder, status: str) -> None:
        """A conditional order waits no more. status: CANCELED, TRIGGERED, FINISHED, EXPIRED or REJECTED."""
        self.pits[order.symbol].open.pop(order.id, None)
        order.armed, order.status, order.update_time = False, status, self.now
        self._tell_algo(order)

    def triggered(self, order: Order) -> None:
        """A conditional order has been reached, or a position's liquidation."""
        if order.kind == LIQUIDATION:
            triggers.liquidate(self, order)
        elif isinstance(order, AlgoOrder):
            triggers.fire(self, order)

    def _work(self, order: Order) -> None:
        """It reaches the book: takes what it can, and rests, expires or is done."""
        pit = self.pits[order.symbol]
        order.working_time = self.now
        self.tell(order, "NEW")
        if order.kind != "LIMIT" or (order.tif != "GTX" and pit.crosses(order.side, order.price)):
            pit.take(order)
        if order.remaining <= 0 or not order.is_live:
            return
        if order.kind == "LIMIT" and order.tif in ("GTC", "GTX"):
            pit.rest(order)
            return
        self.end(order, "EXPIRED")

    def affordable(self, order: Order, price: Decimal) -> Decimal:
        """How much more of an order its account can take: what it closes, and what there is margin for."""
        account, instrument = self.accounts[order.account], self.instruments[order.symbol]
        position = self.wallet(account).position(order.symbol)
        closing = position.closable(order.side)
        if isinstance(order, FuturesOrder) and order.reduce_only:
            return closing
        # As one fraction, so that an order for all there is is not cut by a rounding.
        leverage = Decimal(position.leverage)
        free = self.available(account, instrument.quote, order)
        return closing + ratio(free * leverage, price * (1 + account.taker * leverage))

    def traded(self, order: Order, price: Decimal, qty: Decimal, *, maker: bool) -> None:
        """Book a fill: position, margin, profit and fee, and what follows from it."""
        assert isinstance(order, FuturesOrder)
        account, instrument = self.accounts[order.account], self.instruments[order.symbol]
        wallet = self.wallet(account)
        position = wallet.position(order.symbol)
        closing = min(qty, position.closable(order.side))
        if order.reduce_only:
            qty = closing
        if qty <= 0:
            self.end(order, "EXPIRED")
            return
        quote = times(price, qty)
        # A liquidation pays the insurance fund instead.
        rate = ZERO if order.kind == LIQUIDATION else account.maker if maker else account.taker
        closed = quote if closing == qty else times(price, closing)
        fee, closing_fee = times(quote, rate), times(closed, rate)
        profit, freed = position.reduce(closing, closed) if closing else (ZERO, ZERO)
        trade = self._next_trade[order.symbol]
        self._next_trade[order.symbol] += 1
        self._book(account, "REALIZED_PNL", order.symbol, profit, trade)
        self._book(account, "COMMISSION", order.symbol, -fee, trade)
        left = freed + profit - closing_fee
        if closing:
            left += self._insure(account, order, left, closed)
        if qty > closing:
            opened = quote - closed
            margin = ratio(opened, Decimal(position.leverage))
            position.increase((qty - closing) * (1 if order.side == "BUY" else -1), opened, margin)
            left -= margin + (fee - closing_fee)
        account.balance(instrument.quote).free += left
        account.update_time = order.update_time = position.update_time = self.now
        fill = Fill(
            trade, order.id, -1, order.symbol, price, qty, quote, fee, instrument.quote, self.now,
            order.side == "BUY", maker, profit,
        )  # fmt: skip
        self.trades[order.symbol].append(fill)
        order.trades.append(fill)
        order.executed += qty
        order.quote += quote
        order.status = "FILLED" if order.remaining <= 0 else "PARTIALLY_FILLED"
        self.moved(account, order.symbol, "ORDER")
        self.tell(order, "TRADE", fill)
        if order.status == "FILLED":
            self._ended(order)
        if not position.qty or closing < qty:
            self._expire_reducing(account, order.symbol)

    def _insure(self, account: Account, order: FuturesOrder, left: Decimal, notional: Decimal) -> Decimal:
        """What the insurance fund adds to what is left of a position's margin: nobody loses more than that.

        It takes its fee when it liquidates, as far as there is anything left.
        """
        change = -left if left < 0 else ZERO
        if order.kind == LIQUIDATION and left > 0:
            change = -min(left, times(notional, self.futures.liquidation_fee))
        self._book(account, "INSURANCE_CLEAR", order.symbol, change)
        return change

    def _expire_reducing(self, account: Account, symbol: str) -> None:
        """Reduce-only orders that have nothing left to reduce."""
        position = self.wallet(account).position(symbol)
        for one in self.open_orders(account):
            reducing = one.symbol == symbol and isinstance(one, FuturesOrder) and one.reduce_only
            if reducing and one.kind != LIQUIDATION and not position.closable(one.side):
                self.end(one, "EXPIRED")

    def _ended(self, order: Order) -> None:
        super()._ended(order)
        if isinstance(order, FuturesOrder) and order.algo_id:
            self.end_algo(self.algos[order.algo_id], "FINISHED")

    # Money

    def deposit(self, account: Account, asset: str, amount: Decimal) -> None:
        """Add to the free balance, or take away from it. Raises BadInput: below zero."""
        free = self.available(account, asset)
        if free + amount < 0:
            raise BadInput(f"the available balance of {asset} is {text(free)}; it cannot fall by {text(-amount)}")
        account.balance(asset).free += amount
        account.update_time = self.now
        self._book(account, "TRANSFER", "", amount, asset=asset)
        kind = "DEPOSIT" if amount > 0 else "WITHDRAW"
        row = (asset, self.wallet_balance(account, asset), account.balance(asset).free, amount)
        self.outbox.append((account.key, reports.account_update(kind, self.now, [row])))
        self._settled("deposit", account=account.uid, asset=asset, amount=text(amount))

    def _book(self, account: Account, kind: str, symbol: str, amount: Decimal, trade: int = 0, asset: str = "") -> None:
        if amount:
            asset = asset or self.instruments[symbol].quote
            self.wallet(account).incomes.append(
                Income(self._next_income, kind, symbol, asset, cut(amount), self.now, trade)
            )
            self._next_income += 1

    def moved(self, account: Account, symbol: str, reason: str, change: Decimal = ZERO) -> None:
        """A position has changed: watch its new price of liquidation, and tell the account."""
        pit, position = self.pits[symbol], self.wallet(account).position(symbol)
        number = -account.uid
        pit.open.pop(number, None)
        position.liquidation = ZERO
        if position.qty:
            position.liquidation = self.brackets.liquidation_price(position.qty, position.cost, position.margin)
        if position.liquidation and symbol not in self.mark_pits:
            pit.open[number] = self.liquidation(account, position)
        asset = pit.instrument.quote
        row = (asset, self.wallet_balance(account, asset), account.balance(asset).free, change)
        self.outbox.append(
            (account.key, reports.account_update(reason, self.now, [row], [(position, self.mark(symbol))]))
        )  # fmt: skip

    def liquidation(self, account: Account, position: Position) -> FuturesOrder:
        """What waits for the price at which a position is liquidated."""
        return FuturesOrder(
            -account.uid, account.key, position.symbol, "", "SELL" if position.qty > 0 else "BUY", LIQUIDATION, "IOC",
            position.size, self.now, stop_price=position.liquidation, armed=True, reduce_only=True,
        )  # fmt: skip

    # Telling

    def tell(self, order: Order, kind: str, trade: Trade | None = None, cancel_id: str = "") -> None:
        """Tell the order's account what happened to it."""
        assert isinstance(order, FuturesOrder)
        assert trade is None or isinstance(trade, Fill)
        notionals = self.open_notionals(self.accounts[order.account], order.symbol)
        self.outbox.append((order.account, reports.order_update(order, kind, self.now, trade, notionals)))

    def _tell_algo(self, order: AlgoOrder) -> None:
        self.outbox.append((order.account, reports.algo_update(order, self.now)))
