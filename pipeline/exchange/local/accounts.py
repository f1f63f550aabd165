"""Who trades: accounts with free and locked balances, and what orders reserve of them."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from pipeline.exchange.local.errors import NO_BALANCE, rejected
from pipeline.exchange.local.numbers import ZERO, text


@dataclass(slots=True)
class Balance:
    """An asset of an account. locked: reserved by open orders."""

    free: Decimal = ZERO
    locked: Decimal = ZERO


@dataclass(slots=True)
class Lock:
    """What one order, or the two legs of an OCO together, reserve of an asset."""

    asset: str
    amount: Decimal


@dataclass
class Account:
    """An account and its API key. maker, taker: fees as fractions. max_asset: most of an asset that an order moves."""

    key: str
    secret: str
    uid: int
    maker: Decimal
    taker: Decimal
    balances: dict[str, Balance] = field(default_factory=dict)
    update_time: int = 0
    can_trade: bool = True
    max_asset: dict[str, Decimal] = field(default_factory=dict)

    def balance(self, asset: str) -> Balance:
        """Of an asset; an empty one is made for an asset never held."""
        found = self.balances.get(asset)
        if found is None:
            found = self.balances[asset] = Balance()
        return found

    def reserve(self, asset: str, amount: Decimal) -> Lock:
        """Move free balance aside. Raises ApiError: there is not enough."""
        balance = self.balance(asset)
        if balance.free < amount:
            raise rejected(NO_BALANCE)
        balance.free -= amount
        balance.locked += amount
        return Lock(asset, amount)

    def release(self, lock: Lock) -> None:
        """Give back what is left of a lock."""
        balance = self.balance(lock.asset)
        balance.locked -= lock.amount
        balance.free += lock.amount
        lock.amount = ZERO

    def pay(self, asset: str, amount: Decimal, lock: Lock | None) -> None:
        """Take an amount out of a lock first, then out of the free balance, which the caller has checked."""
        balance = self.balance(asset)
        if lock is not None and lock.asset == asset:
            part = min(amount, lock.amount)
            lock.amount -= part
            balance.locked -= part
            amount -= part
        balance.free -= amount

    def affordable(self, asset: str, lock: Lock | None) -> Decimal:
        """Free balance and what the lock holds of the asset."""
        return self.balance(asset).free + (lock.amount if lock is not None and lock.asset == asset else ZERO)

    def rows(self, omit_zero: bool = False) -> list[dict[str, Any]]:
        """Balances as `GET /api/v3/account` gives them, by name."""
        return [
            {"asset": asset, "free": text(b.free), "locked": text(b.locked)}
            for asset, b in sorted(self.balances.items())
            if not omit_zero or b.free or b.locked
        ]
