"""What is looked at before live trading: limits that the exchange sets to an account."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from pipeline.config import Config
from pipeline.exchange.port import AccountLimits, Permissions, Refused
from pipeline.live.preflight import Check, at_exchange
from pipeline.trading.filters import Range, SymbolFilters

PAIR = ("BTCUSDT", "ETHUSDT")


class Account:
    """An exchange on which everything is right but for its limits."""

    def __init__(self, limits: AccountLimits | None) -> None:
        self._limits = limits

    async def limits(self, symbol: str) -> AccountLimits:
        assert symbol.startswith(("BTC", "BNB"))
        if self._limits is None:
            raise Refused(-1104, "there is no such thing")
        return self._limits

    async def permissions(self) -> Permissions:
        return Permissions(True, False, True)

    async def fees(self, symbol: str) -> tuple[Decimal, Decimal]:
        return Decimal(0), Decimal(0)

    async def balances(self) -> dict[str, tuple[Decimal, Decimal]]:
        return {"USDT": (Decimal(10_000), Decimal(0))}


def all_checks(limits: AccountLimits | None, symbols: tuple[str, ...], capital: float | None = 1000.0) -> list[Check]:
    config: Any = Config.model_validate({"symbols": list(symbols), "serve": {"capital": capital}})
    unit = Range(step=Decimal("0.01"))
    rules = {name: SymbolFilters(name, unit, unit, base_asset=name[:3]) for name in symbols}
    exchange: Any = Account(limits)
    return asyncio.run(at_exchange(config, exchange, rules, 0.0, True))


def checked(limits: AccountLimits | None, symbols: tuple[str, ...] = PAIR, capital: float | None = 1000.0) -> Check:
    checks = all_checks(limits, symbols, capital)
    assert all(one.passed for one in checks if one.name != "limits")
    return next(one for one in checks if one.name == "limits")


@pytest.mark.parametrize(
    ("limits", "passed", "words"),
    [
        (AccountLimits(), True, "enough open"),
        (AccountLimits(4, 2, 2), True, "enough open"),
        (AccountLimits(3, 2, 2), False, "3 orders may be open, 4 are needed"),
        (AccountLimits(4, 1, 2), False, "1 stops may be open, 2 are needed"),
        (AccountLimits(4, 2, 1), False, "1 order lists may be open, 2 are needed"),
        (AccountLimits(assets={"USDT": Decimal(1000)}), True, "moves 1000 USDT at most"),
        (AccountLimits(assets={"USDT": Decimal(999)}), None, "999 USDT at most: larger entries are refused"),
        (AccountLimits(assets={"BTC": Decimal(1)}), True, "enough open"),
        (None, None, "does not tell"),
    ],
)
def test_limits_of_the_account(limits: AccountLimits | None, passed: bool | None, words: str) -> None:
    found = checked(limits)
    assert found.passed is passed
    assert words in found.found


def test_one_symbol_needs_less_and_all_that_is_free_may_be_too_much_for_an_order() -> None:
    assert checked(AccountLimits(2, 1, 1), PAIR[:1]).passed is True
    assert checked(AccountLimits(assets={"USDT": Decimal(10**9)}), capital=None).passed is None


def test_symbols_of_several_quote_assets_are_not_traded_with_one_balance() -> None:
    wrong = [one for one in all_checks(AccountLimits(), ("BTCUSDT", "ETHBTC")) if one.passed is False]
    assert [one.name for one in wrong] == ["balance"] and "these have BTC, USDT" in wrong[0].found


@pytest.mark.parametrize(("symbols", "told"), [(("BNBUSDT", "ETHUSDT"), True), (("BNBUSDT",), False), (PAIR, False)])
def test_an_asset_that_fees_may_be_taken_in_is_told_of_if_it_is_traded_beside_others(
    symbols: tuple[str, ...], told: bool
) -> None:
    noted = [one for one in all_checks(AccountLimits(), symbols) if one.passed is None]
    assert [one.name for one in noted] == (["fees' asset"] if told else [])
    assert all("BNBUSDT may be halted" in one.found for one in noted)
