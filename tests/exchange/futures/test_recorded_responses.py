"""Replies and events of futures against recorded ones: the same keys, the same JSON types.

The recordings lie outside of the repository; `PIPELINE_REAL_DATA` says where. Sources: the test data of Binance.Net and
the recordings of cryptofeed.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from exchange.futures.contracts import Contracts, contracts
from exchange.test_recorded_responses import NET, differences, recorded

from pipeline.exchange.local.futures import market_data
from pipeline.exchange.local.requests import Params

ENDPOINTS, EVENTS = f"{NET}/Endpoints/UsdFutures", f"{NET}/Subscriptions/UsdFutures"
BTC = {"symbol": "BTCUSDT"}


def scene() -> Contracts:
    """A long position, an order in the book, and conditional ones that wait, have worked and trail."""
    c = contracts(*[(100, 101, 99, 100)] * 8, fees=("0.0002", "0.0005"))
    c.place("BUY", quantity=2)
    c.wait("SELL", "TAKE_PROFIT_MARKET", triggerPrice="100.5", quantity=1, reduceOnly="true", clientAlgoId="done")
    c.engine.step(2)
    c.place("BUY", "LIMIT", quantity=1, price=95, newClientOrderId="resting")
    c.wait("SELL", "TAKE_PROFIT", triggerPrice=150, price=150, quantity=1, clientAlgoId="waiting")
    return c


def ask(name: str, **params: str) -> Callable[[Contracts], Any]:
    return lambda c: market_data.PUBLIC[name][0](c.engine, Params(params))


def call(name: str, **params: Any) -> Callable[[Contracts], Any]:
    return lambda c: c.call(name, **params)


def event(kind: str, act: Callable[[Contracts], Any]) -> Callable[[Contracts], Any]:
    def find(c: Contracts) -> Any:
        c.engine.drain()
        act(c)
        return c.events(kind)[-1]

    return find


LIMIT = BTC | {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "90"}
ALGO = BTC | {"algoType": "CONDITIONAL", "side": "SELL", "type": "TAKE_PROFIT", "triggerPrice": "200", "price": "200",
              "quantity": "1"}  # fmt: skip
TRAILED = {"activatePrice", "priceRate"}
# Fields that only some orders have, or that Binance.Net's samples lack; and where a sample's type is another than the
# documents' (an id as text).
CASES: list[tuple[str, Callable[[Contracts], Any], set[str]]] = [
    ("ExchangeData/GetKlines", ask("klines", interval="1m", **BTC), set()),
    ("ExchangeData/GetMarkPriceKlines", ask("markPriceKlines", interval="1m", **BTC), set()),
    ("ExchangeData/GetIndexPriceKlines", ask("indexPriceKlines", interval="1m", pair="BTCUSDT"), set()),
    ("ExchangeData/GetContinuousContractKlines",
     ask("continuousKlines", interval="1m", pair="BTCUSDT", contractType="PERPETUAL"), set()),
    ("ExchangeData/GetPrice", ask("ticker.price", **BTC), set()),
    ("ExchangeData/GetBookPrice", ask("ticker.book", **BTC), set()),
    ("ExchangeData/GetTicker", ask("ticker.24hr", **BTC), set()),
    ("ExchangeData/GetOrderBook", ask("depth", **BTC), set()),
    ("ExchangeData/GetRecentTrades", ask("trades.recent", **BTC), set()),
    ("ExchangeData/GetAggregatedTradeHistory", ask("trades.aggregate", **BTC), set()),
    ("ExchangeData/GetFundingRates", ask("fundingRate", **BTC), set()),
    ("ExchangeData/GetFundingInfo", ask("fundingInfo"), set()),
    ("ExchangeData/GetMarkPrice", ask("premiumIndex", **BTC), set()),
    ("Account/GetBrackets", call("leverageBracket"), {"brackets.cum: float/int"}),
    ("Account/GetBalances", call("balance.v3"), set()),
    ("Account/GetUserCommissionRate", call("commissionRate", **BTC), set()),
    ("Account/GetIncomeHistory", call("income"), {"tranId: int/str", "tradeId: str/int"}),
    ("Account/ChangeInitialLeverage", call("leverage", leverage=20, **BTC), set()),
    ("Account/GetAccountInfo", call("account.v2"),
     {"+feeBurn", "+positions.breakEvenPrice", "+positions.isolatedWallet", "+positions.notional"}),
    ("Account/GetAccountInfoV3", call("account.v3"), set()),
    ("Account/GetPositionInformation", call("positionRisk.v2"), set()),
    ("Account/GetAccountConfiguration", call("accountConfig"), set()),
    ("Account/GetSymbolConfiguration", call("symbolConfig"), set()),
    ("Account/ModifyPositionMargin", call("positionMargin", amount=1, type=1, **BTC), set()),
    ("Account/GetMultiAssetsMode", call("multiAssetsMargin.get"), set()),
    ("Trading/PlaceOrder", call("order.place", **LIMIT), {f"-{name}" for name in TRAILED}),
    ("Trading/GetOrder", call("order.status", origClientOrderId="resting", **BTC), {f"-{name}" for name in TRAILED}),
    ("Trading/GetOpenOrders", call("openOrders.status"), {f"-{name}" for name in TRAILED}),
    ("Trading/CancelOrder", call("order.cancel", origClientOrderId="resting", **BTC),
     {f"-{name}" for name in TRAILED} | {"+avgPrice"}),
    ("Trading/CancelAllOrders", call("openOrders.cancelAll", **BTC), set()),
    ("Trading/GetUserTrades", call("userTrades", **BTC), set()),
    # The sample of v3 still has the fields of v2, which the documents have dropped, and lacks the new ones.
    ("Trading/GetPositions", call("positionRisk.v3"),
     {"-isAutoAddMargin", "-leverage", "-marginType", "-maxNotionalValue", "+adl", "+askNotional", "+bidNotional",
      "+initialMargin", "+maintMargin", "+marginAsset", "+openOrderInitialMargin", "+positionInitialMargin"}),
    ("Trading/PlaceConditionalOrder", call("algoOrder.place", **ALGO), set()),
    ("Trading/GetConditionalOrder", call("algoOrder.status", clientAlgoId="done", **BTC), set()),
    ("Trading/GetOpenConditionalOrders", call("openAlgoOrders.status"), {"+actualQty", "+actualType"}),
    ("Trading/GetConditionalOrders", call("allAlgoOrders", **BTC), set()),
    ("Trading/CancelConditionalOrder", call("algoOrder.cancel", clientAlgoId="waiting"),
     {"+activatePrice", "+callbackRate", "+code", "+msg"}),
    ("Trading/CancelAllConditionalOrders", call("openAlgoOrders.cancelAll", **BTC), set()),
]  # fmt: skip
TOLD: list[tuple[str, Callable[[Contracts], Any], set[str]]] = [
    ("AccountUpdate", event("ACCOUNT_UPDATE", lambda c: c.place("BUY", quantity=1)), set()),
    ("OrderUpdate", event("ORDER_TRADE_UPDATE", lambda c: c.place("BUY", quantity=1)), {"-o.AP", "-o.cr"}),
    ("AlgoOrderUpdate", event("ALGO_UPDATE", lambda c: c.wait("SELL", "STOP_MARKET", triggerPrice=90, quantity=1)),
     set()),
    ("Leverage", event("ACCOUNT_CONFIG_UPDATE", call("leverage", leverage=20, **BTC)), set()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "make", "known"), CASES, ids=[case[0] for case in CASES])
def test_replies_have_the_recorded_keys_and_types(
    real_data: Path, name: str, make: Callable[[Contracts], Any], known: set[str]
) -> None:
    assert differences(make(scene()), recorded(real_data / "fixtures" / ENDPOINTS / f"{name}.txt")) == known


@pytest.mark.parametrize(("name", "make", "known"), TOLD, ids=[case[0] for case in TOLD])
def test_events_have_the_recorded_keys_and_types(
    real_data: Path, name: str, make: Callable[[Contracts], Any], known: set[str]
) -> None:
    text = (real_data / "fixtures" / EVENTS / f"{name}.txt").read_text(encoding="utf-8-sig")
    theirs = json.loads(text[text.index("\n= ") + 3 :] if "\n= " in text else text[text.index("= ") + 2 :])["data"]
    assert differences(make(scene()), theirs) == known


def test_a_contract_has_the_recorded_fields_and_filters(real_data: Path) -> None:
    text = (real_data / "fixtures/cryptofeed/BINANCE_FUTURES.0").read_text(encoding="utf-8")
    found = re.search(r"exchangeInfo -> [0-9.]+: (\{.*)", text)
    assert found is not None
    theirs = json.JSONDecoder().raw_decode(found[1])[0]
    ours = market_data.exchange_info(scene().engine, Params({}), [], 0)
    assert ours.keys() == theirs.keys()
    entry, other = ours["symbols"][0], next(one for one in theirs["symbols"] if one["symbol"] == "BTCUSDT")
    assert differences(entry | {"filters": []}, other | {"filters": []}) == set()
    filters = {one["filterType"]: one.keys() for one in entry["filters"]}
    assert filters == {one["filterType"]: one.keys() for one in other["filters"]}
