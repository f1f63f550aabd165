"""The exchange without any wire: markets, accounts and orders, driven by two things only, time and requests.

Pure and deterministic: no clock, no network, no file but the journal it is given, one seeded generator. The same data,
settings and requests give the same replies, events and journal, to the byte.
"""

import random
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from pipeline.errors import BadInput
from pipeline.exchange.local import controls, lists, path, placing, reports
from pipeline.exchange.local.accounts import Account, Lock
from pipeline.exchange.local.errors import ApiError
from pipeline.exchange.local.exchange_filters import NONE, ExchangeFilters, told
from pipeline.exchange.local.history import Series
from pipeline.exchange.local.instruments import Instrument
from pipeline.exchange.local.journal import Journal
from pipeline.exchange.local.matching import MarketModel, Pit
from pipeline.exchange.local.numbers import ZERO, ratio, text, times
from pipeline.exchange.local.orders import Order, OrderList, Trade
from pipeline.exchange.local.requests import Ticket
from pipeline.exchange.local.timeline import CLOSE, POINTS, Timeline

# ("open", symbol, price, time), ("tick", symbol, price, quantity, time, trade id, buyer is maker) and ("close", symbol,
# position of the bar)
MarketEvent = tuple[Any, ...]
_UNFILLED = {"IOC": "UNFILLED_IOC_QUANTITY_EXPIRED", "FOK": "UNFILLED_FOK_ORDER_EXPIRED"}
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
# Ids of clients' trades, clear of those that the market's own trades count up to.
_FIRST_TRADE = 1_000_000_000_000


class Engine:
    """A market of several symbols, replayed bar by bar, and the accounts that trade on it.

    series: of one interval, by symbol. start_ms: where trading begins; earlier bars are history. After construction,
    and after each `step`, the market stands at the open of a bar: its price is that open.
    """

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
        filters: ExchangeFilters = NONE,
    ) -> None:
        self.timeline = Timeline(series.values(), start_ms)
        self.interval = next(iter(series.values())).interval
        self.instruments = dict(sorted(instruments.items()))
        self.accounts = {account.key: account for account in accounts}
        self.journal = journal or Journal()
        self.filters = filters
        self.model = model or MarketModel.model_validate({})
        self.pits = {
            symbol: Pit(
                self.instruments[symbol], series[symbol], self.model, self, series[symbol].at(self.timeline.opened)
            )
            for symbol in self.instruments
        }
        self._random = random.Random(seed)
        self._turns: dict[str, tuple[float, float, float]] = {}
        self.orders: dict[int, Order] = {}
        self.lists: dict[int, OrderList] = {}
        self.trades: dict[str, list[Trade]] = {symbol: [] for symbol in self.instruments}
        self.outbox: list[tuple[str, reports.Event]] = []
        self.ambiguous_bars = 0
        self._changed: dict[str, set[str]] = {}
        self._sequence = 0
        self._next_order = 1
        self._next_list = 0
        self._next_trade = dict.fromkeys(self.instruments, _FIRST_TRADE)
        self._by_client_id: dict[tuple[str, str, str], Order] = {}
        self._live: dict[str, dict[int, Order]] = {}
        self._told = 0
        self.journal.add(
            "start",
            self.now,
            0,
            symbols=list(self.instruments),
            seed=seed,
            model=self.model.model_dump(mode="json"),
            accounts={str(a.uid): a.rows() for a in accounts},
            **told(filters, accounts),
        )
        self.advance()

    # Time

    @property
    def now(self) -> int:
        """The market's time, ms."""
        return self.timeline.now

    @property
    def done(self) -> bool:
        """Whether the data have ended."""
        return self.timeline.done

    def advance(self) -> list[MarketEvent]:
        """One moment of the market: an open, one of three points inside the bar, or a close. Nothing after the end."""
        if self.done:
            return []
        opened, phase = self.timeline.go_on()
        events: list[MarketEvent] = []
        for symbol, pit in self.pits.items():
            if pit.opens != opened:
                continue
            if phase == 0:
                self._open(pit)
                events.append(("open", symbol, pit.last, self.now))
            elif phase < CLOSE:
                pit.go(self._turns[symbol][phase - 1], 1 / POINTS)
                events.append(pit.tick(phase, self.now))
            else:
                pit.end()
                events.append(("close", symbol, pit.position - 1))
        self._settled("market")
        return events

    def step(self, bars: int = 1) -> list[MarketEvent]:
        """Finish this bar and the next ones, up to the open of the one after."""
        events: list[MarketEvent] = []
        for _ in range(bars):
            while not self.done:
                events += self.advance()
                if self.timeline.phase == 1:
                    break
        return events

    def _open(self, pit: Pit) -> None:
        pit.begin()
        stops = pit.armed if pit.open else ()
        self._turns[pit.instrument.symbol] = path.turning_points(self.model.path, *pit.bar[1:5], stops, self._random)
        if pit.open:
            self.count_ambiguous(pit)

    def count_ambiguous(self, pit: Pit) -> None:
        """Count the bar that is going on if a list's legs both lie in it, once whatever their number."""
        fresh = [one for one in pit.ambiguous() if one not in pit.unclear]
        if fresh:
            self.ambiguous_bars += not pit.unclear
            pit.unclear.update(fresh)
            symbol = pit.instrument.symbol
            self.journal.add("ambiguous_bar", self.now, self.timeline.moments, symbol=symbol, lists=fresh)

    # Orders

    def place(self, account: Account, ticket: Ticket) -> Order:
        """Place one order. Raises ApiError: it is refused, and nothing has changed."""
        placing.check(self, account, ticket)
        placing.check_unused(self, account, [ticket])
        pit = self.pits[ticket.symbol]
        draft = placing.draft(self, account, ticket)
        placing.check_market(pit, draft)
        lock = None
        if ticket.kind == "MARKET":
            draft.qty = placing.market_quantity(pit, account, draft)
        else:
            lock = account.reserve(*placing.cost(pit, ticket, ticket.qty))
        order = self.new_order(account, draft, -1, lock)
        self.start(order)
        return order

    def new_order(self, account: Account, draft: Order, list_id: int, lock: Lock | None) -> Order:
        """Number and keep an order; it does nothing yet."""
        order = draft
        order.id, order.list_id, order.lock = self._next_order, list_id, lock
        order.client_id = order.client_id or self.client_id()
        order.armed = order.is_stop
        self._next_order += 1
        self.orders[order.id] = order
        self._by_client_id[account.key, order.symbol, order.client_id] = order
        self._live.setdefault(account.key, {})[order.id] = order
        return order

    def start(self, order: Order) -> None:
        """The order is accepted: a stop waits, anything else works."""
        pit = self.pits[order.symbol]
        order.update_time = self.now
        if order.armed:
            if order.trailing and (not order.stop_price or pit.is_reached(order)):
                self.activated(order)
            self.tell(order, "NEW")
            if pit.is_reached(order):
                # A pending order whose stop the market has passed while it waited.
                self.triggered(order)
            else:
                pit.open[order.id] = order
            return
        self._work(order)

    def _work(self, order: Order) -> None:
        """It reaches the book: takes what it can, and rests, expires or is done."""
        pit = self.pits[order.symbol]
        order.working_time = self.now
        self.tell(order, "NEW")
        takes = order.kind not in ("LIMIT", "LIMIT_MAKER") or pit.crosses(order.side, order.price)
        if takes and order.kind != "LIMIT_MAKER":
            whole = sum((qty for _, qty in pit.plan(order)), ZERO) >= order.remaining
            if order.tif != "FOK" or whole:
                pit.take(order)
        if order.remaining <= 0 or not order.is_live:
            return
        if order.is_limit and order.tif == "GTC":
            pit.rest(order)
            return
        order.expiry_reason = _UNFILLED[order.tif] if order.is_limit else "INSUFFICIENT_LIQUIDITY"
        self.end(order, "EXPIRED")

    def activated(self, order: Order) -> None:
        """A trailing stop follows the price from here on."""
        order.active, order.extreme, order.trailing_time = True, self.pits[order.symbol].price, self.now

    def triggered(self, order: Order) -> None:
        """A stop has been reached."""
        self.pits[order.symbol].open.pop(order.id, None)
        order.armed = False
        order.update_time = self.now
        if order.list_id >= 0:
            lists.progress(self, order)
        self._work(order)

    def traded(self, order: Order, price: Decimal, qty: Decimal, *, maker: bool) -> None:
        """Book a fill: amounts, fee, balances, and what follows from it."""
        account = self.accounts[order.account]
        instrument = self.instruments[order.symbol]
        quote = times(price, qty)
        got, gave = (instrument.base, instrument.quote) if order.side == "BUY" else (instrument.quote, instrument.base)
        received, paid = (qty, quote) if order.side == "BUY" else (quote, qty)
        fee = times(received, account.maker if maker else account.taker)
        account.pay(gave, paid, order.lock)
        account.balance(got).free += received - fee
        account.update_time = order.update_time = self.now
        trade = Trade(
            self._next_trade[order.symbol],
            order.id,
            order.list_id,
            order.symbol,
            price,
            qty,
            quote,
            fee,
            got,
            self.now,
            order.side == "BUY",
            maker,
        )
        self._next_trade[order.symbol] += 1
        self.trades[order.symbol].append(trade)
        order.trades.append(trade)
        order.executed += qty
        order.quote += quote
        filled = order.remaining <= 0
        order.status = "FILLED" if filled else "PARTIALLY_FILLED"
        self._touch(account, got, gave)
        self.tell(order, "TRADE", trade)
        if filled:
            self._ended(order)
        else:
            self._fit(order)
        if order.list_id >= 0:
            lists.progress(self, order)

    def end(self, order: Order, status: str, cancel_id: str = "", *, quiet: bool = False) -> None:
        """Cancel or expire an order. quiet: what becomes of its list is up to the caller."""
        if not order.is_live:
            return
        order.status = status
        order.update_time = self.now
        self._ended(order)
        self.tell(order, "CANCELED" if status == "CANCELED" else "EXPIRED", cancel_id=cancel_id)
        if order.list_id >= 0 and not quiet:
            lists.progress(self, order)

    def _ended(self, order: Order) -> None:
        self.pits[order.symbol].open.pop(order.id, None)
        self._live.get(order.account, {}).pop(order.id, None)
        order.armed = False
        self._fit(order)

    def _fit(self, order: Order) -> None:
        """Give back what an order's lock holds beyond the need of the live orders that share it."""
        lock, account = order.lock, self.accounts[order.account]
        if lock is None:
            return
        holders = self.lists[order.list_id].orders if order.list_id >= 0 else [order]
        pit = self.pits[order.symbol]
        needs = (placing.cost(pit, one, one.remaining)[1] for one in holders if one.is_live and one.lock is lock)
        over = lock.amount - max(needs, default=ZERO)
        if over > 0:
            lock.amount -= over
            account.release(Lock(lock.asset, over))
            self._touch(account, lock.asset)

    def affordable(self, order: Order, price: Decimal) -> Decimal:
        """How much more of an order its account can pay for."""
        instrument = self.instruments[order.symbol]
        asset = instrument.base if order.side == "SELL" else instrument.quote
        amount = self.accounts[order.account].affordable(asset, order.lock)
        return amount if order.side == "SELL" else ratio(amount, price)

    # What the shells ask for

    def average_price(self, symbol: str) -> Decimal:
        """Volume-weighted price of the last five minutes of bars, the last price if nothing was traded."""
        return self.pits[symbol].average_price()

    def live_by_client_id(self, account: Account, client_id: str, symbol: str) -> Order | None:
        """The live order of that client id."""
        order = self._by_client_id.get((account.key, symbol, client_id))
        return order if order is not None and order.is_live else None

    def by_client_id(self, account: Account, client_id: str, symbol: str) -> Order | None:
        """The latest order of that client id; ids may be used again once an order has ended."""
        return self._by_client_id.get((account.key, symbol, client_id))

    def open_orders(self, account: Account) -> list[Order]:
        """Live orders of an account, pending ones too, oldest first."""
        return list(self._live.get(account.key, {}).values())

    def client_id(self) -> str:
        """A new client order id, for a client that sent none."""
        # The letters that `choices` would draw, in a fifth of its time.
        draw = self._random.random
        return "".join([_LETTERS[int(draw() * 62.0)] for _ in range(22)])

    def next_list_id(self) -> int:
        """Number of a new order list."""
        self._next_list += 1
        return self._next_list - 1

    def tell(self, order: Order, kind: str, trade: Trade | None = None, cancel_id: str = "") -> None:
        """Tell the order's account what happened to it."""
        self._sequence += 1
        event = reports.execution(order, kind, self.now, self._sequence, trade=trade, cancel_id=cancel_id)
        self.outbox.append((order.account, event))
        if order.lock is not None:
            self._touch(self.accounts[order.account], order.lock.asset)

    def tell_list(self, orders: OrderList) -> None:
        """Tell the list's account how it stands."""
        self.outbox.append((orders.account, reports.list_status(orders, self.now)))

    def _touch(self, account: Account, *assets: str) -> None:
        account.update_time = self.now
        self._changed.setdefault(account.key, set()).update(assets)

    def _settled(self, kind: str, **what: Any) -> None:
        """Tell changed balances, and write the journal if there is anything to write."""
        for key, assets in self._changed.items():
            self.outbox.append((key, reports.position(self.accounts[key], sorted(assets), self.now)))
        if kind == "market" and len(self.outbox) == self._told:
            return
        self._changed = {}
        fresh = self.outbox[self._told :]
        self._told = len(self.outbox)
        events = [[self.accounts[key].uid, event] for key, event in fresh]
        self.journal.add(kind, self.now, self.timeline.moments, **what, events=events)

    def drain(self) -> list[tuple[str, reports.Event]]:
        """Events since the last call, with the key of the account that each is for."""
        events, self.outbox, self._told = self.outbox, [], 0
        return events

    def request(self, account: Account, name: str, params: Mapping[str, str], run: Callable[[], Any]) -> Any:
        """Run a request that may change something, and write it down with its outcome. Raises ApiError."""
        try:
            result = run()
        except ApiError as error:
            self._settled("request", account=account.uid, name=name, params=dict(params), error=error.body())
            raise
        self._settled("request", account=account.uid, name=name, params=dict(params), result=result)
        return result

    def control(self, name: str, **args: str) -> None:
        """Something that happens to the exchange itself, by name (see `controls`); written down, so that a replay
        repeats it. Raises BadInput: it makes no sense."""
        try:
            controls.run(self, name, dict(args))
        except (KeyError, ArithmeticError, ValueError) as error:
            raise BadInput(f"{name}: {', '.join(f'{k}={v}' for k, v in args.items())}: {error!r}") from None
        self._settled("control", name=name, args=args)

    def deposit(self, account: Account, asset: str, amount: Decimal) -> None:
        """Add to a balance, or take away from it: a transfer by someone else. Raises BadInput: below zero."""
        balance = account.balance(asset)
        if balance.free + amount < 0:
            raise BadInput(f"the free balance of {asset} is {text(balance.free)}; it cannot fall by {text(-amount)}")
        balance.free += amount
        self._touch(account, asset)
        event = {"e": "balanceUpdate", "E": self.now, "a": asset, "d": f"{amount:.8f}", "T": self.now}
        self.outbox.append((account.key, event))
        self._settled("deposit", account=account.uid, asset=asset, amount=text(amount))
