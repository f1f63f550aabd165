"""What has to be right before real orders are sent; each check says what it found, and all of them are shown."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pipeline.config import Config
from pipeline.exchange.port import Exchange, Refused, Unavailable
from pipeline.live.holdings import DISCOUNT_ASSET
from pipeline.trading.filters import SymbolFilters
from pipeline.trading.rules import rules_of

# Fees may differ so much from the config's before the backtest is another market.
_FEE_ROOM = Decimal("0.0002")
_ZERO = Decimal(0)


@dataclass(frozen=True)
class Check:
    """One of them. passed: None for what could not be found out, or is worth a look and forbids nothing."""

    name: str
    passed: bool | None
    found: str

    def line(self, width: int) -> str:
        """For people."""
        word = {True: "pass", False: "FAIL", None: "note"}[self.passed]
        return f"  {word}  {self.name:<{width}}  {self.found}"


async def at_exchange(
    config: Config, exchange: Exchange, rules: Mapping[str, SymbolFilters], skew_ms: float, real: bool
) -> list[Check]:
    """Checks of key, clock, filters, fees, limits and balances. real: with real money. Raises Unavailable, WrongKey."""
    return [
        await _key(exchange, real),
        _clock(config, skew_ms),
        *[_filters(symbol, one) for symbol, one in rules.items()],
        *[await _fees(config, exchange, symbol) for symbol in rules],
        await _limits(config, exchange, rules),
        *await _balances(config, exchange, rules),
    ]


def of_config(config: Config) -> list[Check]:
    """Checks of what the config asks for."""
    rules = rules_of(config.simulate, config.interval, config.sizing, config.risk)
    stops = rules.stop_loss < 1 or rules.stop_atr > 0 or rules.trailing_stop < 1 or rules.trail_atr > 0
    found = "a stop rests on the exchange" if stops and config.serve.protect else "positions would have no stop"
    checks = [Check("stop", stops and config.serve.protect, found)]
    found = "limits and breakers are on" if config.risk.enabled else "risk.enabled is false: nothing stops trading"
    return [*checks, Check("risk rules", config.risk.enabled, found)]


def of_bundle(
    manifest: Mapping[str, Any] | None,
    fault: str | None,
    promoted: str | None,
    uncertified: bool,
    rehearsed: bool,
    allowed: Sequence[str],
) -> list[Check]:
    """Checks of the models. fault: why the certificate is not valid; promoted: stage that the gate has let it to, or
    why to none; uncertified: whether that forbids nothing; rehearsed: whether no exchange is at stake; allowed: stages
    that may trade at this one."""
    if manifest is None:
        return [Check("certificate", None, "a strategy without models has none; `pipeline verify` checks its features")]
    found = f"promoted to {promoted or 'nothing'}"
    passed = True if promoted in allowed else None if rehearsed else False
    return [
        Check("certificate", None if fault and uncertified else fault is None, fault or "valid"),
        Check("gate", passed, found if passed else f"{found}: `pipeline promote` takes it to {allowed[0]}"),
    ]


def of_capital(config: Config, real: bool) -> list[Check]:
    """Check of how much is at stake. real: with real money."""
    capital, cap = config.serve.capital, config.gate.live_cap
    found = f"{'all that is free' if capital is None else f'{capital:,g}'}, gate.live_cap is {cap:,g}"
    enough = capital is not None and capital <= cap
    return [Check("capital", True if enough else False if real else None, found)]


async def _key(exchange: Exchange, real: bool) -> Check:
    try:
        may = await exchange.permissions()
    except (Refused, Unavailable) as error:
        return Check("key", None, f"the exchange does not tell what it may do: {error}")
    wrong = [
        words for words, is_wrong in (
            ("it may not trade", not may.trade),
            ("it may withdraw: make one that may not", may.withdraw),
            ("it is not bound to an address: restrict it to this machine's", not may.is_bound),
        ) if is_wrong
    ]  # fmt: skip
    passed = not wrong if real or not wrong or not may.trade else None
    return Check("key", passed, "; ".join(wrong) or "trades, cannot withdraw, bound to an address")


def _clock(config: Config, skew_ms: float) -> Check:
    most = config.risk.gates.max_clock_skew * 1000
    return Check("clock", abs(skew_ms) <= most, f"{skew_ms:+.0f} ms from the exchange's, {most:.0f} ms allowed")


def _filters(symbol: str, rules: SymbolFilters) -> Check:
    return Check(
        f"filters {symbol}", rules.lots.step > 0 and rules.prices.step > 0,
        f"lots of {rules.lots.step.normalize():f}, ticks of {rules.prices.step.normalize():f}, "
        f"at least {rules.min_notional.normalize():f}",
    )  # fmt: skip


async def _fees(config: Config, exchange: Exchange, symbol: str) -> Check:
    with contextlib.suppress(Refused, Unavailable):
        _, taker = await exchange.fees(symbol)
        expected = Decimal(str(config.simulate.costs.taker_fee))
        return Check(
            f"fees {symbol}", taker <= expected + _FEE_ROOM,
            f"{taker.normalize():f} as taker, simulated with {expected.normalize():f}",
        )  # fmt: skip
    return Check(f"fees {symbol}", None, "the exchange does not tell them")


async def _limits(config: Config, exchange: Exchange, rules: Mapping[str, SymbolFilters]) -> Check:
    """Whether the account may have open what trading needs, and move all that is at stake in one order.

    Asked for one symbol: the exchange's counts and the quote asset are those of all.
    """
    symbol = next(iter(rules))
    try:
        limits = await exchange.limits(symbol)
    except (Refused, Unavailable) as error:
        return Check("limits", None, f"the exchange does not tell the account's: {error}")
    # A stop and a target rest on the exchange for each position, as a list.
    needed = (("orders", limits.orders, 2), ("stops", limits.stop_orders, 1), ("order lists", limits.lists, 1))
    wrong = [
        f"{most} {word} may be open, {each * len(rules)} are needed"
        for word, most, each in needed
        if 0 < most < each * len(rules)
    ]
    if wrong:
        return Check("limits", False, "; ".join(wrong))
    quote, capital = symbol.removeprefix(rules[symbol].base_asset), config.serve.capital
    most = limits.assets.get(quote)
    if most is None:
        return Check("limits", True, "the account may have enough open")
    words = f"one order moves {most.normalize():f} {quote} at most"
    if capital is None or most < Decimal(str(capital)):
        return Check("limits", None, f"{words}: larger entries are refused")
    return Check("limits", True, words)


async def _balances(config: Config, exchange: Exchange, rules: Mapping[str, SymbolFilters]) -> list[Check]:
    balances = await exchange.balances()
    checks = [_balance(config, balances, rules)]
    traded = [symbol for symbol, one in rules.items() if one.base_asset == DISCOUNT_ASSET]
    if traded and len(rules) > len(traded):
        # Books count by symbol what was bought of its base asset: what others take of it looks as if it had been sold.
        found = (
            f"the other symbols' must not be taken in {DISCOUNT_ASSET}, or {traded[0]} may be halted: switch that off"
        )
        checks.append(Check("fees' asset", None, found))
    return checks


def _balance(
    config: Config, balances: Mapping[str, tuple[Decimal, Decimal]], rules: Mapping[str, SymbolFilters]
) -> Check:
    quotes = {symbol.removeprefix(one.base_asset) for symbol, one in rules.items()}
    if len(quotes) != 1:
        return Check(
            "balance", False, f"symbols of one quote asset share a balance; these have {', '.join(sorted(quotes))}"
        )
    quote = quotes.pop()
    free = balances.get(quote, (_ZERO, _ZERO))[0]
    least = max([one.min_notional for one in rules.values()], default=_ZERO)
    wanted = max(least, Decimal(str(config.serve.capital or 0)))
    held = [symbol for symbol, one in rules.items() if sum(balances.get(one.base_asset, (_ZERO, _ZERO))) > 0]
    note = f"; the account holds base assets of {', '.join(held)} already, which are left alone" if held else ""
    return Check("balance", free >= wanted, f"{free.normalize():f} {quote} free, {wanted.normalize():f} needed{note}")
