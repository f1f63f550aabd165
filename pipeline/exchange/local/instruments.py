"""What is traded: symbols with their assets, their rules and what `exchangeInfo` says of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np

from pipeline.errors import BadInput
from pipeline.exchange.local.history import Series
from pipeline.exchange.local.numbers import text
from pipeline.trading.filters import SymbolFilters, from_exchange_info

ORDER_TYPES = (*("LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"),)
_QUOTES = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USD", "BTC", "ETH", "BNB", "EUR", "TRY", "BRL", "JPY", "GBP")


@dataclass
class Instrument:
    """A symbol. entry: its part of `exchangeInfo`; rules: the same as filters; status: TRADING, HALT, BREAK …"""

    symbol: str
    base: str
    quote: str
    entry: dict[str, Any]
    rules: SymbolFilters = field(init=False)

    def __post_init__(self) -> None:
        self.rules = from_exchange_info(self.entry)

    @property
    def status(self) -> str:
        """Whether it trades."""
        return str(self.entry["status"])

    def number(self, filter_type: str, name: str) -> Decimal:
        """A filter's value; 0 if the symbol does not have it."""
        for one in self.entry["filters"]:
            if one["filterType"] == filter_type:
                return Decimal(str(one.get(name, 0)))
        return Decimal(0)

    def change(self, filter_type: str, values: Mapping[str, str]) -> None:
        """Change a filter while the exchange runs.

        Raises BadInput: the symbol has no such filter, or it would become impossible.
        """
        known = [one["filterType"] for one in self.entry["filters"]]
        if filter_type not in known:
            raise BadInput(f"{self.symbol} has no filter {filter_type}", f"it has {', '.join(known)}")
        filters = [_changed(one, values) if one["filterType"] == filter_type else one for one in self.entry["filters"]]
        entry = self.entry | {"filters": filters}
        self.rules = from_exchange_info(entry)
        self.entry = entry


def _changed(one: dict[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """A filter with other values, of the types in JSON that it had."""

    def typed(before: Any, value: str) -> Any:
        if isinstance(before, bool):
            return value.lower() == "true"
        return int(value) if isinstance(before, int) and value.isascii() and value.isdigit() else value

    return one | {name: typed(one.get(name), value) for name, value in values.items()}


def of_series(symbol: str, series: Series) -> Instrument:
    """A symbol with the filters that a symbol of its price usually has; tick and lot are read off the data.

    Raises BadInput: base and quote cannot be told from the name.
    """
    if not re.fullmatch(r"[A-Z0-9]{5,20}", symbol):
        raise BadInput(f"'{symbol}' is not a symbol", "write base and quote in capitals: BTCUSDT")
    quote = next((one for one in _QUOTES if symbol.endswith(one) and len(symbol) > len(one)), "")
    if not quote:
        raise BadInput(f"{symbol}: which part is the quote asset?", f"known ones are {', '.join(_QUOTES)}")
    return Instrument(symbol, symbol.removesuffix(quote), quote, _entry(symbol, quote, series))


def of_entry(entry: Mapping[str, Any]) -> Instrument:
    """A symbol of a recorded `exchangeInfo`. Raises BadInput: the entry is not one."""
    try:
        return Instrument(str(entry["symbol"]), str(entry["baseAsset"]), str(entry["quoteAsset"]), dict(entry))
    except KeyError as error:
        raise BadInput(f"exchangeInfo: {entry.get('symbol', '?')} has no {error.args[0]}") from None


def _entry(symbol: str, quote: str, series: Series) -> dict[str, Any]:
    tick = _unit(series.close)
    step = max(_unit(series.volume), Decimal("0.00001")) if len(series) else Decimal("0.00001")
    filters: list[dict[str, Any]] = [
        {"filterType": "PRICE_FILTER", "minPrice": text(tick), "maxPrice": "1000000.00000000", "tickSize": text(tick)},
        {"filterType": "LOT_SIZE", "minQty": text(step), "maxQty": "9000.00000000", "stepSize": text(step)},
        {"filterType": "ICEBERG_PARTS", "limit": 10},
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": "0.00000000",
            "maxQty": "1000.00000000",
            "stepSize": "0.00000000",
        },
        {
            "filterType": "TRAILING_DELTA",
            "minTrailingAboveDelta": 10,
            "maxTrailingAboveDelta": 2000,
            "minTrailingBelowDelta": 10,
            "maxTrailingBelowDelta": 2000,
        },
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": "5",
            "bidMultiplierDown": "0.2",
            "askMultiplierUp": "5",
            "askMultiplierDown": "0.2",
            "avgPriceMins": 5,
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": "5.00000000",
            "applyMinToMarket": True,
            "maxNotional": "9000000.00000000",
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        {"filterType": "MAX_NUM_ORDER_LISTS", "maxNumOrderLists": 20},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
        {"filterType": "MAX_NUM_ORDER_AMENDS", "maxNumOrderAmends": 10},
    ]
    return {
        "symbol": symbol,
        "status": "TRADING",
        "baseAsset": symbol.removesuffix(quote),
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": list(ORDER_TYPES),
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "opoAllowed": False,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "amendAllowed": False,
        "pegInstructionsAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": filters,
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "NONE",
        "allowedSelfTradePreventionModes": ["NONE"],
    }


def _unit(values: "np.typing.NDArray[np.float64]") -> Decimal:
    """The decimal unit that all of a sample of values are whole multiples of, 1e-8 at the least."""
    sample = values[:: max(1, len(values) // 2000)]
    for places in range(9):
        if np.array_equal(np.round(sample, places), sample):
            return Decimal(1).scaleb(-places)
    return Decimal("0.00000001")
