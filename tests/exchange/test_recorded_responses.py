"""Our replies and events against recorded ones: the same keys, the same JSON types.

The recordings lie outside of the repository; `PIPELINE_REAL_DATA` says where. Sources: the test data of Binance.Net,
nautilus_trader, XChange and cryptofeed.
"""

import json
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from exchange.replays import Bar, Replay, replay

from pipeline.exchange.local import market_data
from pipeline.exchange.local.instruments import of_entry
from pipeline.exchange.local.requests import Params

NET = "JKorf+Binance.Net/Binance.Net.UnitTests"
REST, SOCKET, EVENTS = f"{NET}/Endpoints/Spot", f"{NET}/Socket/Spot", f"{NET}/Subscriptions/Spot/Account"
NAUTILUS = "nautechsystems+nautilus_trader/crates/adapters/binance/test_data/spot"
XCHANGE = "knowm+XChange/xchange-binance/src/test/resources"


def recorded(file: Path) -> Any:
    """The JSON of a recording; Binance.Net puts method, path and messages before it."""
    text = file.read_text(encoding="utf-8-sig")
    if file.suffix == ".txt":
        text = re.sub(r"^[<>].*$", "", text, flags=re.M).replace("|1|", "1")
        text = text[re.search(r"^\s*[\[{]", text, re.M).start() :]  # type: ignore[union-attr]
    found = json.loads(text)
    for wrapper in ("result", "event"):
        if isinstance(found, dict) and wrapper in found:
            found = found[wrapper]
    return found


def differences(ours: Any, theirs: Any, path: str = "") -> set[str]:
    """`-key` of those that we lack, `+key` of those that they lack, `key: type/type`; paths without positions."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = {f"-{path}{key}" for key in theirs.keys() - ours.keys()}
        found |= {f"+{path}{key}" for key in ours.keys() - theirs.keys()}
        for key in ours.keys() & theirs.keys():
            found |= differences(ours[key], theirs[key], f"{path}{key}.")
        return found
    if isinstance(ours, list) and isinstance(theirs, list):
        found = set()
        # A row has its columns; a list of words may have any number of them.
        if len({type(one) for one in theirs}) > 1 and len(ours) != len(theirs):
            found.add(f"{path}{len(ours)}/{len(theirs)}")
        for one, other in zip(ours, theirs, strict=False):
            found |= differences(one, other, path)
        return found
    kinds = [type(one).__name__ for one in (ours, theirs)]
    return set() if kinds[0] == kinds[1] else {f"{path.rstrip('.')}: {kinds[0]}/{kinds[1]}"}


# The scene: orders in every state, at a price of 100.

FLAT: Bar = (100, 100, 100, 100)


def scene() -> Replay:
    r = replay(*[FLAT] * 3, (100, 101, 99, 100.5), FLAT, history=3, fees=("0.001", "0.001"))
    r.place("BUY", "LIMIT", quantity="1", price="100")
    return r


def order(r: Replay) -> dict[str, Any]:
    return r.call("order.place", side="SELL", type="LIMIT", timeInForce="GTC", quantity="1", price="100")


def resting(r: Replay) -> dict[str, Any]:
    return r.call("order.place", side="BUY", type="LIMIT", timeInForce="GTC", quantity="1", price="90")


def market(r: Replay) -> dict[str, Any]:
    return r.call("order.place", side="BUY", type="MARKET", quantity="1")


def stop(r: Replay) -> dict[str, Any]:
    return r.call("order.place", side="SELL", type="STOP_LOSS_LIMIT", timeInForce="GTC", quantity="1", price="89",
                  stopPrice="90")  # fmt: skip


def trailing(r: Replay) -> dict[str, Any]:
    return r.call("order.place", side="SELL", type="STOP_LOSS", quantity="1", trailingDelta="100", strategyId="1",
                  strategyType="1000000")  # fmt: skip


def oco(r: Replay) -> dict[str, Any]:
    return r.call("orderList.place.oco", side="BUY", quantity="1", aboveType="STOP_LOSS_LIMIT", aboveStopPrice="110",
                  abovePrice="111", aboveTimeInForce="GTC", belowType="LIMIT_MAKER", belowPrice="90")  # fmt: skip


def oco_sale(r: Replay) -> dict[str, Any]:
    """Our order of legs is above, below; the recording that has an iceberg names the stop first."""
    reply = r.call("orderList.place.oco", side="SELL", quantity="1", aboveType="LIMIT_MAKER", abovePrice="110",
                   belowType="STOP_LOSS_LIMIT", belowStopPrice="90", belowPrice="89", belowTimeInForce="GTC",
                   belowIcebergQty="0.5")  # fmt: skip
    return reply | {"orderReports": reply["orderReports"][::-1]}


def oto(r: Replay, **working: Any) -> dict[str, Any]:
    return r.call("orderList.place.oto", **{
        "workingType": "LIMIT", "workingSide": "SELL", "workingPrice": "110", "workingQuantity": "1",
        "workingTimeInForce": "GTC", "pendingType": "MARKET", "pendingSide": "BUY", "pendingQuantity": "1"}
        | working)  # fmt: skip


def otoco(r: Replay) -> dict[str, Any]:
    return r.call("orderList.place.otoco", workingType="LIMIT", workingSide="SELL", workingPrice="110",
                  workingQuantity="1", workingTimeInForce="GTC", pendingSide="BUY", pendingQuantity="1",
                  pendingAboveType="STOP_LOSS", pendingAboveStopPrice="120", pendingBelowType="LIMIT_MAKER",
                  pendingBelowPrice="90")  # fmt: skip


def ask(name: str, **params: str) -> Callable[[Replay], Any]:
    return lambda r: market_data.PUBLIC[name][0](r.engine, Params(params))


def after(first: Callable[[Replay], Any], name: str, **params: Any) -> Callable[[Replay], Any]:
    """The reply of an operation after an order; `orderId` and `orderListId` are the new order's."""

    def run(r: Replay) -> Any:
        placed = first(r)
        return r.call(name, **{k: placed[k] if v is placed_id else v for k, v in params.items()})

    return run


placed_id = object()


def replaced(r: Replay) -> Any:
    return r.call(
        "order.cancelReplace", cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId=resting(r)["orderId"], side="BUY",
        type="LIMIT", timeInForce="GTC", quantity="1", price="91")  # fmt: skip


def rules(r: Replay) -> Any:
    return market_data.exchange_info(r.engine, Params({"symbol": "BTCUSDT"}), [], 0)


def event(kind: str, act: Callable[[Replay], Any], **values: Any) -> Callable[[Replay], Any]:
    """The last event of a kind, with certain values, that an action brings."""

    def run(r: Replay) -> Any:
        r.engine.drain()
        act(r)
        return [one for one in r.events(kind) if values.items() <= one.items()][-1]

    return run


def triggered(r: Replay) -> None:
    r.call("order.place", side="SELL", type="STOP_LOSS_LIMIT", timeInForce="GTC", quantity="1", price="100.2",
           stopPrice="99.5")  # fmt: skip
    r.engine.step()


def expired(r: Replay) -> None:
    r.call("order.place", side="BUY", type="LIMIT", timeInForce="IOC", quantity="1", price="90")


def deposited(r: Replay) -> None:
    r.engine.deposit(r.account, "BTC", Decimal(1))


LIST = {"symbol": None}
CASES: list[tuple[str, Callable[[Replay], Any]]] = [
    (f"{REST}/ExchangeData/GetKlines.txt", ask("klines", symbol="BTCUSDT", interval="1m")),
    (f"{REST}/ExchangeData/GetUiKlines.txt", ask("uiKlines", symbol="BTCUSDT", interval="1m")),
    (f"{REST}/ExchangeData/GetTicker.txt", ask("ticker.24hr", symbol="BTCUSDT")),
    (f"{REST}/ExchangeData/GetRollingWindowTicker.txt", ask("ticker", symbol="BTCUSDT")),
    (f"{REST}/ExchangeData/GetTradingDayTicker.txt", ask("ticker.tradingDay", symbol="BTCUSDT")),
    (f"{REST}/ExchangeData/GetAvgPrice.txt", ask("avgPrice", symbol="BTCUSDT")),
    (f"{REST}/ExchangeData/GetBookPrice.txt", ask("ticker.book", symbol="BTCUSDT")),
    (f"{REST}/ExchangeData/GetPrice.txt", ask("ticker.price", symbol="BTCUSDT")),
    (f"{REST}/ExchangeData/GetRecentTrades.txt", ask("trades.recent", symbol="BTCUSDT")),
    (f"{REST}/ExchangeData/GetTradeHistory.txt", ask("trades.historical", symbol="BTCUSDT")),
    (f"{REST}/ExchangeData/GetAggregatedTradeHistory.txt", ask("trades.aggregate", symbol="BTCUSDT")),
    (f"{REST}/ExchangeData/GetExecutionRules.txt", ask("executionRules", symbol="BTCUSDT")),
    (f"{REST}/ExchangeData/GetExchangeInfo.txt", rules),
    (f"{REST}/Account/GetAccountInfo.txt", lambda r: r.call("account.status", symbol=None)),
    (f"{REST}/Account/GetCommissionRates.txt", lambda r: r.call("account.commission")),
    (f"{REST}/Trading/PlaceOrder.txt", order),
    (f"{REST}/Trading/PlaceTestOrder.txt", lambda r: r.call(
        "order.test", side="BUY", type="MARKET", quantity="1", computeCommissionRates="true")),
    (f"{REST}/Trading/GetOrder.txt", after(resting, "order.status", orderId=placed_id)),
    (f"{REST}/Trading/GetOrders.txt", after(resting, "allOrders")),
    (f"{REST}/Trading/GetOpenOrders.txt", after(resting, "openOrders.status")),
    (f"{REST}/Trading/CancelOrder.txt", after(resting, "order.cancel", orderId=placed_id)),
    (f"{REST}/Trading/CancelAllOrders.txt", after(resting, "openOrders.cancelAll")),
    (f"{REST}/Trading/ReplaceOrder.txt", replaced),
    (f"{REST}/Trading/PlaceOcoOrderList.txt", oco_sale),
    (f"{REST}/Trading/PlaceOtoOrderList.txt", oto),
    (f"{REST}/Trading/PlaceOtocoOrderList.txt", otoco),
    (f"{REST}/Trading/GetOcoOrder.txt", after(oco, "orderList.status", orderListId=placed_id, **LIST)),
    (f"{REST}/Trading/GetOcoOrders.txt", after(oco, "allOrderLists", **LIST)),
    (f"{REST}/Trading/GetOpenOcoOrders.txt", after(oco, "openOrderLists.status", **LIST)),
    (f"{REST}/Trading/CancelOcoOrder.txt", after(oco, "orderList.cancel", orderListId=placed_id)),
    (f"{REST}/Trading/GetUserTrades.txt", lambda r: r.call("myTrades")),
    (f"{SOCKET}/Account/GetAccountInfo.txt", lambda r: r.call("account.status", symbol=None)),
    (f"{SOCKET}/ExchangeData/GetAggregatedTradeHistory.txt", ask("trades.aggregate", symbol="BTCUSDT")),
    (f"{SOCKET}/ExchangeData/GetBookTickers.txt", ask("ticker.book")),
    (f"{SOCKET}/ExchangeData/GetCurrentAvgPrice.txt", ask("avgPrice", symbol="BTCUSDT")),
    (f"{SOCKET}/ExchangeData/GetExchangeInfo.txt", rules),
    (f"{SOCKET}/ExchangeData/GetKlines.txt", ask("klines", symbol="BTCUSDT", interval="1m")),
    (f"{SOCKET}/ExchangeData/GetOrderBook.txt", ask("depth", symbol="BTCUSDT")),
    (f"{SOCKET}/ExchangeData/GetRecentTrades.txt", ask("trades.recent", symbol="BTCUSDT")),
    (f"{SOCKET}/ExchangeData/GetRollingWindowTickers.txt", ask("ticker", symbols='["BTCUSDT"]')),
    (f"{SOCKET}/ExchangeData/GetTickers.txt", ask("ticker.24hr")),
    (f"{SOCKET}/ExchangeData/GetTradeHistory.txt", ask("trades.historical", symbol="BTCUSDT")),
    (f"{SOCKET}/ExchangeData/GetUIKlines.txt", ask("uiKlines", symbol="BTCUSDT", interval="1m")),
    (f"{SOCKET}/Trading/CancelAllOrders.txt", after(stop, "openOrders.cancelAll")),
    (f"{SOCKET}/Trading/CancelOcoOrder.txt", after(oco, "orderList.cancel", orderListId=placed_id)),
    (f"{SOCKET}/Trading/CancelOrder.txt", after(resting, "order.cancel", orderId=placed_id)),
    (f"{SOCKET}/Trading/GetOcoOrder.txt", after(oco, "orderList.status", orderListId=placed_id, **LIST)),
    (f"{SOCKET}/Trading/GetOpenOcoOrders.txt", after(oco, "openOrderLists.status", **LIST)),
    (f"{SOCKET}/Trading/GetOpenOrders.txt", after(resting, "openOrders.status")),
    (f"{SOCKET}/Trading/GetOrder.txt", after(trailing, "order.status", orderId=placed_id)),
    (f"{SOCKET}/Trading/GetUserTrades.txt", lambda r: r.call("myTrades")),
    (f"{SOCKET}/Trading/PlaceOcoOrder.txt", oco),
    (f"{SOCKET}/Trading/PlaceOrder.txt", order),
    (f"{SOCKET}/Trading/PlaceTestOrder.txt", lambda r: r.call(
        "order.test", side="BUY", type="MARKET", quantity="1", computeCommissionRates="true")),
    (f"{SOCKET}/Trading/ReplaceOrder.txt", replaced),
    (f"{EVENTS}/AccountPosition.txt", event("outboundAccountPosition", resting)),
    (f"{EVENTS}/Balance.txt", event("balanceUpdate", deposited)),
    (f"{EVENTS}/OcoOrder.txt", event("listStatus", oco)),
    (f"{EVENTS}/Order.txt", event("executionReport", resting)),
    (f"{NAUTILUS}/user_data_json/account_position.json", event("outboundAccountPosition", resting)),
    (f"{NAUTILUS}/user_data_json/account_position_wrapped.json", event("outboundAccountPosition", resting)),
    (f"{NAUTILUS}/user_data_json/balance_update.json", event("balanceUpdate", deposited)),
    (f"{NAUTILUS}/user_data_json/balance_update_wrapped.json", event("balanceUpdate", deposited)),
    (f"{NAUTILUS}/user_data_json/list_status_wrapped.json", event("listStatus", oco)),
    (f"{NAUTILUS}/user_data_json/execution_report_new.json", event("executionReport", resting)),
    (f"{NAUTILUS}/user_data_json/execution_report_wrapped.json", event("executionReport", resting)),
    (f"{NAUTILUS}/user_data_json/execution_report_trade.json", event("executionReport", order)),
    (f"{NAUTILUS}/user_data_json/execution_report_canceled.json", event("executionReport", after(
        resting, "order.cancel", orderId=placed_id))),
    (f"{NAUTILUS}/user_data_json/execution_report_expired.json", event("executionReport", expired)),
    (f"{NAUTILUS}/user_data_json/execution_report_stop_loss.json", event("executionReport", triggered, x="NEW")),
    (f"{NAUTILUS}/http_json/depth_response.json", ask("depth", symbol="BTCUSDT")),
    (f"{NAUTILUS}/http_json/avg_price_response.json", ask("avgPrice", symbol="BTCUSDT")),
    (f"{NAUTILUS}/http_json/account_trades_response.json", lambda r: r.call("myTrades")),
    (f"{NAUTILUS}/http_json/order_response.json", after(resting, "order.status", orderId=placed_id)),
    (f"{NAUTILUS}/http_json/new_order_full_response.json", order),
    (f"{NAUTILUS}/http_json/exchange_info_response.json", rules),
    (f"{NAUTILUS}/http_json/trades_response.json", ask("trades.recent", symbol="BTCUSDT")),
    (f"{NAUTILUS}/http_json/klines_response.json", ask("klines", symbol="BTCUSDT", interval="1m")),
    (f"{NAUTILUS}/http_json/ticker_24hr_response.json", ask("ticker.24hr", symbol="BTCUSDT")),
    (f"{NAUTILUS}/http_json/ticker_price_response.json", ask("ticker.price", symbol="BTCUSDT")),
    (f"{NAUTILUS}/http_json/book_ticker_response.json", ask("ticker.book", symbol="BTCUSDT")),
    (f"{NAUTILUS}/http_json/open_orders_response.json", after(resting, "openOrders.status")),
    (f"{NAUTILUS}/http_json/cancel_open_orders_response.json", after(resting, "openOrders.cancelAll")),
    (f"{NAUTILUS}/http_json/cancel_order_response.json", after(resting, "order.cancel", orderId=placed_id)),
    (f"{NAUTILUS}/http_json/account_response.json", lambda r: r.call("account.status", symbol=None)),
    (f"{NAUTILUS}/http_json/all_orders_response.json", after(resting, "allOrders")),
    (f"{XCHANGE}/__files/single-24hr-ticker.json", ask("ticker.24hr", symbol="BTCUSDT")),
    (f"{XCHANGE}/__files/open-orders.json", after(resting, "openOrders.status")),
    (f"{XCHANGE}/__files/depth.json", ask("depth", symbol="BTCUSDT")),
    (f"{XCHANGE}/org/knowm/xchange/binance/filled-market-order.json",
     after(market, "order.status", orderId=placed_id)),
]  # fmt: skip


# Keys that we give and older recordings lack, because the exchange added them later; each with where it is shown.
_NEW_INFO = "nautilus_trader's recording has it"
NEWER = {
    "origQuoteOrderQty": "the recordings of the socket have it, which are of the same replies",
    "selfTradePreventionMode": "the recordings over REST have it; came with self-trade prevention, 2023-01",
    "workingTime": "the recordings over REST have it",
    "specialCommission": "the documentation of account/commission has it, no recording does",
    "specialCommissionForOrder": "the documentation of order/test has it, no recording does",
    "bidQty": "one early recording of ticker/24hr lacks it, all others have it",
    "askQty": "one early recording of ticker/24hr lacks it, all others have it",
    "permissionSets": _NEW_INFO,
    "otoAllowed": _NEW_INFO,
    "amendAllowed": f"{_NEW_INFO}; Binance.Net's file calls it allowAmend",
    "pegInstructionsAllowed": _NEW_INFO,
    "opoAllowed": _NEW_INFO,
    "baseCommissionPrecision": _NEW_INFO,
    "quoteCommissionPrecision": _NEW_INFO,
}
# Files that were written by hand or shortened: what differs, and why it does not count.
EDITED: dict[str, set[str]] = {
    # They show the reply of order.status in place of that of a cancel, which nine other recordings have.
    f"{SOCKET}/Trading/CancelAllOrders.txt": {
        "+origClientOrderId", "+transactTime", "-icebergQty", "-isWorking", "-time", "-updateTime", "-workingTime"},
    f"{SOCKET}/Trading/CancelOrder.txt": {
        "+origClientOrderId", "+transactTime", "-icebergQty", "-isWorking", "-time", "-updateTime", "-workingTime",
        "-stopPrice", "-trailingDelta", "-trailingTime", "-strategyId", "-strategyType", "-preventedMatchId",
        "-preventedQuantity"},
    f"{SOCKET}/Trading/CancelOcoOrder.txt": {"+orderReports.origClientOrderId"},
    f"{SOCKET}/ExchangeData/GetExchangeInfo.txt": {"-symbols.allowAmend", "-sors"},
    # Smart order routing and self-trade prevention are not modelled: the first is told only where a symbol has it,
    # the second only of orders that it has stopped.
    f"{NAUTILUS}/http_json/exchange_info_response.json": {"-sors"},
    f"{SOCKET}/Trading/GetOrder.txt": {"-preventedMatchId", "-preventedQuantity"},
    f"{SOCKET}/Trading/ReplaceOrder.txt": {"+newOrderResponse.fills"},
    # The wrapper of the REST file is its author's; on the socket the same reply has none.
    f"{REST}/Trading/ReplaceOrder.txt": {
        "-data", "+cancelResult", "+newOrderResult", "+cancelResponse", "+newOrderResponse"},
    # nautilus_trader's events that are not wrapped leave out what its parser does not read; the wrapped one has all.
    **{
        f"{NAUTILUS}/user_data_json/execution_report_{kind}.json":
            {"+F", "+I", "+M", "+Q", "+V", "+W", "+Y", "+g"}
        for kind in ("new", "trade", "canceled", "expired", "stop_loss")
    },
}  # fmt: skip


def unexplained(file: str, found: set[str]) -> set[str]:
    """Differences that neither a newer key nor an edited file explains."""
    newer = {one for one in found if one.startswith("+") and one.removeprefix("+").split(".")[-1] in NEWER}
    return found - newer - EDITED.get(file, set())


@pytest.mark.parametrize(("file", "run"), CASES, ids=[file.split("/", 2)[-1] for file, _ in CASES])
def test_replies_have_the_keys_and_types_of_recorded_ones(
    real_data: Path, file: str, run: Callable[[Replay], Any]
) -> None:
    assert unexplained(file, differences(run(scene()), recorded(real_data / "fixtures" / file))) == set()


def test_every_exception_is_still_needed(real_data: Path) -> None:
    """Otherwise this list would hide what came later."""
    found = {file: differences(run(scene()), recorded(real_data / "fixtures" / file)) for file, run in CASES}
    assert {file: wanted - found[file] for file, wanted in EDITED.items() if wanted - found[file]} == {}
    used = {one.split(".")[-1].removeprefix("+") for file in found for one in found[file] - EDITED.get(file, set())}
    assert NEWER.keys() - used == set()


def test_a_recorded_exchange_with_hundreds_of_symbols_is_taken_as_it_is(real_data: Path) -> None:
    line = (real_data / "fixtures/cryptofeed/BINANCE.0").read_text().splitlines()[0]
    info = json.loads(line.split(": ", 1)[1])
    instruments = [of_entry(entry) for entry in info["symbols"]]
    assert len(instruments) > 1000
    [bitcoin] = [one for one in instruments if one.symbol == "BTCUSDT"]
    r = replay(*[(57000, 57100, 56900, 57050)] * 2, rules=bitcoin)
    limit = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.001", "price": "56000"}
    assert r.refusal("order.place", **limit | {"price": "56000.001"}) == (-1013, "Filter failure: PRICE_FILTER")
    assert r.refusal("order.place", **limit | {"quantity": "0.0001"}) == (-1013, "Filter failure: MIN_NOTIONAL")
    assert r.place("BUY", "LIMIT", quantity="0.001", price="56000").status == "NEW"
