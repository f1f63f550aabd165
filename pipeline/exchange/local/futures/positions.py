"""The money: a position of one symbol with its own margin, and what an account has beside its positions.

Amounts are decimals of eight places, and every change is booked as income, so that at any time
wallet = deposits + realised − fees ± funding ± insurance, to the last digit.
"""

from dataclasses import dataclass, field
from decimal import Context, Decimal

from pipeline.exchange.local.accounts import Account
from pipeline.exchange.local.numbers import ONE, ZERO, cut, ratio, times

_EXACT = Context(prec=60)


@dataclass(frozen=True, slots=True)
class Income:
    """One booking. kind: REALIZED_PNL, COMMISSION, FUNDING_FEE, INSURANCE_CLEAR or TRANSFER; trade: its id or 0."""

    id: int
    kind: str
    symbol: str
    asset: str
    amount: Decimal
    time: int
    trade: int = 0


@dataclass(slots=True)
class Position:
    """One-way position of a symbol, isolated. qty: signed; cost: what it was opened for, ≥ 0; margin: its own wallet.

    realized: since the account exists, after no fees.
    """

    symbol: str
    leverage: int
    qty: Decimal = ZERO
    cost: Decimal = ZERO
    margin: Decimal = ZERO
    realized: Decimal = ZERO
    update_time: int = 0
    liquidation: Decimal = ZERO

    @property
    def side(self) -> Decimal:
        """1 long, -1 short."""
        return -ONE if self.qty < 0 else ONE

    @property
    def size(self) -> Decimal:
        """Quantity without its sign."""
        return abs(self.qty)

    @property
    def entry_price(self) -> Decimal:
        """Average price it was opened at; 0 if there is none."""
        return ratio(self.cost, self.size) if self.qty else ZERO

    def notional(self, mark: Decimal) -> Decimal:
        """Its worth at a price, signed."""
        return self.side * times(self.size, mark)

    def unrealized(self, mark: Decimal) -> Decimal:
        """Profit if it were closed at a price."""
        return self.side * (times(self.size, mark) - self.cost)

    def closable(self, order_side: str) -> Decimal:
        """How much of it an order of a side would close."""
        return self.size if self.qty and (order_side == "BUY") == (self.qty < 0) else ZERO

    def reduce(self, qty: Decimal, quote: Decimal) -> tuple[Decimal, Decimal]:
        """Close a quantity for an amount of the quote asset. Returns the profit and the margin that is set free."""
        whole = qty == self.size
        cost = self.cost if whole else _part(self.cost, qty, self.size)
        margin = self.margin if whole else _part(self.margin, qty, self.size)
        profit = self.side * (quote - cost)
        self.qty -= self.side * qty
        self.cost -= cost
        self.margin -= margin
        self.realized += profit
        return profit, margin

    def increase(self, qty: Decimal, quote: Decimal, margin: Decimal) -> None:
        """Open more. qty: signed, as the position is."""
        self.qty += qty
        self.cost += quote
        self.margin += margin


def _part(amount: Decimal, qty: Decimal, of: Decimal) -> Decimal:
    """Share of an amount, in more digits than any product has."""
    return cut(_EXACT.divide(_EXACT.multiply(amount, qty), of))


@dataclass
class Wallet:
    """An account's side of futures. The free balance, not bound in positions, is the account's own."""

    account: Account
    leverage: int
    positions: dict[str, Position] = field(default_factory=dict)
    incomes: list[Income] = field(default_factory=list)

    def position(self, symbol: str) -> Position:
        """Of a symbol; an empty one is made for a symbol never traded."""
        if symbol not in self.positions:
            self.positions[symbol] = Position(symbol, self.leverage)
        return self.positions[symbol]
