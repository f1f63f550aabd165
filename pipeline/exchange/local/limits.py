"""Rate limits: weight by address, orders by account; a warning, then a ban.

Source: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.exchange.local.errors import ApiError

_MINUTE, _TEN_SECONDS, _DAY = 60_000, 10_000, 86_400_000
# How long a ban lasts: two minutes the first time, three days at the most.
_FIRST_BAN, _LONGEST_BAN = 120_000, 3 * _DAY
_NEVER = (0, 0)


class Limits(BaseModel):
    """What is allowed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight_per_minute: int = Field(6000, gt=0, description="Request weight by address and minute.")
    orders_per_10s: int = Field(100, gt=0, description="Orders that are not filled, by account, in ten seconds.")
    orders_per_day: int = Field(200_000, gt=0, description="Orders that are not filled, by account and day.")
    warnings: int = Field(10, ge=0, description="Requests after a 429 that are still answered with 429, then 418.")


class RateLimited(ApiError):
    """Too many requests. until: when they are accepted again, ms."""

    def __init__(self, code: int, message: str, status: int, until: int) -> None:
        super().__init__(code, message, status)
        self.until = until


class _Count:
    """Calls in the current window of a length."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.window = -1
        self.used = 0

    def at(self, now: int) -> int:
        """What is used up in the window of a time."""
        window = now // self.length
        if window != self.window:
            self.window, self.used = window, 0
        return self.used

    def add(self, now: int, amount: int) -> None:
        """Use some, or give some back."""
        used = self.at(now) + amount
        self.used = used if used > 0 else 0


class RateLimits:
    """Counts what addresses and accounts use. Times in ms of the server's clock."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._weight: dict[str, _Count] = {}
        self._orders: dict[str, tuple[_Count, _Count]] = {}
        self._warned: dict[str, tuple[int, int]] = {}
        self._banned: dict[str, tuple[int, int]] = {}

    def used(self, address: str, now: int) -> int:
        """Weight that an address has used this minute."""
        return self._weighed(address).at(now)

    def charge(self, address: str, weight: int, now: int) -> None:
        """Use weight. Raises RateLimited: 429 beyond the limit, 418 for those who go on all the same."""
        until, length = self._banned.get(address, _NEVER)
        if now < until:
            raise _banned(until)
        count = self._weighed(address)
        count.add(now, weight)
        if count.used <= self.limits.weight_per_minute:
            return
        end = (now // _MINUTE + 1) * _MINUTE
        minute, warnings = self._warned.get(address, (0, 0))
        warnings = warnings + 1 if minute == end else 1
        self._warned[address] = (end, warnings)
        if warnings > self.limits.warnings:
            self.ban(address, min(max(2 * length, _FIRST_BAN), _LONGEST_BAN), now)
            raise _banned(self._banned[address][0])
        raise RateLimited(
            -1003,
            f"Too much request weight used; current limit is {self.limits.weight_per_minute} request weight per "
            "1 MINUTE. Please use WebSocket Streams for live updates to avoid polling the API.",
            429,
            end,
        )

    def refund(self, address: str, weight: int, now: int) -> None:
        """Give weight back."""
        self._weighed(address).add(now, -weight)

    def ban(self, address: str, length: int, now: int) -> None:
        """Refuse an address for some ms."""
        self._banned[address] = (now + length, length)

    def forgive(self) -> None:
        """Lift all bans and warnings, and forget what was used."""
        for kept in (self._weight, self._orders, self._warned, self._banned):
            kept.clear()

    def check_orders(self, key: str, orders: int, now: int) -> None:
        """Refuse an order that would be one too many. Raises RateLimited -1015."""
        short, long = self._counts(key)
        limits = self.limits
        for count, most, words in (
            (short, limits.orders_per_10s, "10 SECOND"),
            (long, limits.orders_per_day, "1 DAY"),
        ):
            if count.at(now) + orders > most:
                until = (now // count.length + 1) * count.length
                raise RateLimited(
                    -1015, f"Too many new orders; current limit is {most} orders per {words}.", 429, until
                )  # fmt: skip

    def add_orders(self, key: str, orders: int, now: int) -> None:
        """Count orders that were accepted; less than 0 for orders that were filled."""
        for count in self._counts(key):
            count.add(now, orders)

    def order_counts(self, key: str, now: int) -> tuple[int, int]:
        """Orders of the last ten seconds and of the day."""
        short, long = self._counts(key)
        return short.at(now), long.at(now)

    def rules(self) -> list[dict[str, Any]]:
        """As `exchangeInfo` lists them."""
        return [
            _rule("REQUEST_WEIGHT", "MINUTE", 1, self.limits.weight_per_minute),
            _rule("ORDERS", "SECOND", 10, self.limits.orders_per_10s),
            _rule("ORDERS", "DAY", 1, self.limits.orders_per_day),
            _rule("RAW_REQUESTS", "MINUTE", 5, 300_000),
        ]

    def order_rules(self, key: str, now: int) -> list[dict[str, Any]]:
        """As `rateLimit/order` lists them, with counts."""
        short, long = self.order_counts(key, now)
        return [
            _rule("ORDERS", "SECOND", 10, self.limits.orders_per_10s) | {"count": short},
            _rule("ORDERS", "DAY", 1, self.limits.orders_per_day) | {"count": long},
        ]

    def weight_rule(self, address: str, now: int) -> dict[str, Any]:
        """As replies of the WebSocket API carry it."""
        rule = _rule("REQUEST_WEIGHT", "MINUTE", 1, self.limits.weight_per_minute)
        return rule | {"count": self.used(address, now)}

    def _counts(self, key: str) -> tuple[_Count, _Count]:
        found = self._orders.get(key)
        if found is None:
            found = self._orders[key] = (_Count(_TEN_SECONDS), _Count(_DAY))
        return found

    def _weighed(self, address: str) -> _Count:
        found = self._weight.get(address)
        if found is None:
            found = self._weight[address] = _Count(_MINUTE)
        return found


def _rule(kind: str, interval: str, number: int, limit: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}


def _banned(until: int) -> RateLimited:
    words = f"Way too much request weight used; IP banned until {until}. "
    return RateLimited(
        -1003, words + "Please use WebSocket Streams for live updates to avoid bans.", 418, until
    )  # fmt: skip
