"""Random input for the parts of the local exchange that read what strangers send.

As a script, for a long run: `python tests/exchange/fuzz.py 200000 [SEED]`. Anything but a reply or a refusal is an
error that names the seed.
"""

import asyncio
import json
import random
import sys
import time
from typing import Any

from hypothesis import strategies as st

from pipeline.config import utc_ms
from pipeline.exchange.local import wire
from pipeline.exchange.local.errors import ApiError
from pipeline.exchange.local.market_data import PUBLIC
from pipeline.exchange.local.operations import OPERATIONS
from pipeline.exchange.local.requests import Params, ticket
from pipeline.exchange.local.rest import PUBLIC_ROUTES, SIGNED_ROUTES, parse
from pipeline.exchange.local.running import Setup, make
from pipeline.exchange.local.scenario import DEMO_KEY, DEMO_SECRET, Scenario
from pipeline.exchange.local.signing import rest_payload, signature, verify
from pipeline.exchange.local.socket_api import Session
from pipeline.exchange.local.weights import weight_of

_START = utc_ms("2024-01-01")
# Filters of the exchange, near what a run comes to.
_FILTERS = ("max_num_orders", "max_num_algo_orders", "max_num_iceberg_orders", "max_num_order_lists")
_MOST = (12, 6, 2, 3)
# Where the synthetic market of the seed begins.
_PRICE = 56_000.0
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_NAMES = (
    *("symbol", "symbols", "side", "type", "timeInForce", "quantity", "quoteOrderQty", "price", "stopPrice"),
    *("icebergQty", "trailingDelta", "newClientOrderId", "newOrderRespType", "selfTradePreventionMode", "strategyId"),
    *("strategyType", "orderId", "origClientOrderId", "cancelReplaceMode", "cancelOrderId", "cancelOrigClientOrderId"),
    *("cancelNewClientOrderId", "cancelRestrictions", "orderListId", "listClientOrderId", "startTime", "endTime"),
    *("limit", "fromId", "interval", "windowSize", "timeZone", "omitZeroBalances", "computeCommissionRates"),
    *("permissions", "symbolStatus", "aboveType", "abovePrice", "aboveStopPrice", "aboveTrailingDelta", "belowType"),
    *("belowStopPrice", "belowPrice", "belowTimeInForce", "aboveTimeInForce", "workingType", "workingSide"),
    *("workingPrice", "workingQuantity", "workingTimeInForce", "pendingType", "pendingSide", "pendingQuantity"),
    *("pendingPrice", "pendingStopPrice", "pendingTimeInForce", "pendingAboveType", "pendingAbovePrice"),
    *("pendingBelowType", "pendingBelowStopPrice", "aboveClientOrderId", "belowIcebergQty", "subscriptionId"),
    *("timestamp", "recvWindow", "signature", "apiKey", "", "é", "x"),
)
_VALUES = (
    *("BTCUSDT", "ETHUSDT", "XRPUSDT", "btcusdt", '["BTCUSDT"]', "[]", "[[", '{"a":1}', "BUY", "SELL", "LIMIT"),
    *("MARKET", "LIMIT_MAKER", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT", "GTC", "IOC"),
    *("FOK", "ACK", "RESULT", "FULL", "MINI", "NONE", "STOP_ON_FAILURE", "ALLOW_FAILURE", "ONLY_NEW", "true"),
    *("false", "0", "1", "2", "-1", "0.1", "0.001", "1000", "20000", "40000", "60000", "100000", "0.00000001"),
    *("99999999999999999999", "9" * 40, "1.123456789", "1e5", "nan", "inf", "١", "²", "", " ", "\x00", "\ud800"),
    *("1m", "5m", "1h", "1d", "1w", "1M", "1s", "7m", "1704067200000", "1704067260000", "99999999999999", "one"),
    *("100", "101", "5000", "2000", "10", "TRADING", "é", "a" * 37, "%", "&", "="),
)
_METHODS = (
    *("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY", "ping", "time"),
    *("session.status", "session.logon", "session.logout", "session.subscriptions"),
    *("userDataStream.subscribe.signature", "userDataStream.unsubscribe", "userDataStream.subscribe", "dance", ""),
    *OPERATIONS,
    *PUBLIC,
    *("exchangeInfo", "account.rateLimits.orders"),
)
_ASKED = (*OPERATIONS, *PUBLIC, "exchangeInfo", "account.rateLimits.orders")
_ORDER = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
_WORKING = {"symbol": "BTCUSDT", "workingType": "LIMIT", "workingSide": "BUY", "workingQuantity": "0.01",
            "workingTimeInForce": "GTC", "pendingSide": "SELL", "pendingQuantity": "0.01"}  # fmt: skip
# Requests that are right but for what is missing or changed at random; prices are drawn around the market's.
_RIGHT: tuple[tuple[str, dict[str, str], tuple[str, ...]], ...] = (
    ("order.place", _ORDER, ("price",)),
    ("order.place", {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.01"}, ()),
    ("order.place", {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quoteOrderQty": "300"}, ()),
    ("order.place", {"symbol": "BTCUSDT", "side": "SELL", "type": "STOP_LOSS", "quantity": "0.01"}, ("stopPrice",)),
    ("order.place", {"symbol": "BTCUSDT", "side": "SELL", "type": "TAKE_PROFIT", "quantity": "0.01",
                     "trailingDelta": "100"}, ()),
    ("order.cancelReplace", _ORDER | {"cancelReplaceMode": "ALLOW_FAILURE", "cancelOrderId": "3"}, ("price",)),
    ("order.cancel", {"symbol": "BTCUSDT", "orderId": "7"}, ()),
    ("openOrders.cancelAll", {"symbol": "BTCUSDT"}, ()),
    ("orderList.place.oco", {"symbol": "BTCUSDT", "side": "SELL", "quantity": "0.01", "aboveType": "LIMIT_MAKER",
                             "belowType": "STOP_LOSS"}, ("abovePrice", "belowStopPrice")),
    ("orderList.place.oto", _WORKING | {"pendingType": "MARKET"}, ("workingPrice",)),
    ("orderList.place.otoco", _WORKING | {"pendingAboveType": "LIMIT_MAKER", "pendingBelowType": "STOP_LOSS"},
     ("workingPrice", "pendingAbovePrice", "pendingBelowStopPrice")),
    ("klines", {"symbol": "BTCUSDT", "interval": "5m", "startTime": "1704067200000"}, ()),
    ("trades.aggregate", {"symbol": "BTCUSDT", "fromId": "7"}, ()),
    ("myTrades", {"symbol": "BTCUSDT"}, ()),
)  # fmt: skip
_STREAMS = ("btcusdt@kline_1m", "btcusdt@depth", "ethusdt@trade", "!ticker@arr", "btcusdt@kline_9m", "x", "", "é", 7)


class _Silent:
    """A client's end that swallows what is sent, once it has seen that it is JSON with an answer."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.raw = True
        self.sent = 0
        self.socket = None

    def send(self, message: str) -> None:
        assert isinstance(json.loads(message), dict | list)
        self.sent += 1


class Target:
    """An exchange without a port, and what is thrown at it. Each raises if anything but a refusal comes out."""

    def __init__(self) -> None:
        everything = {"weight_per_minute": 10**12, "orders_per_10s": 10**9, "orders_per_day": 10**9}
        accounts = [{"balances": {"USDT": 10**6, "BTC": 10, "ETH": 10}, "max_asset": {"USDT": 50_000, "ETH": 1}}]
        scenario = Scenario.model_validate({
            "limits": everything, "accounts": accounts,
            "exchange_filters": dict(zip(_FILTERS, _MOST, strict=True)),
        })  # fmt: skip
        end = _START + 200_000 * 60_000
        setup = Setup(("BTCUSDT", "ETHUSDT"), "1m", None, _START - 36_000_000, _START, end, scenario=scenario)
        # Never ready for anyone: its event loop only lends its clock.
        self.loop = asyncio.new_event_loop()
        self.setup = setup
        self.refused = self.answered = 0
        self._begin()

    def _begin(self) -> None:
        self.server = make(self.setup)
        self.venue = self.server.venue
        self.session = Session(_Silent(), "fuzz", 0, "true")  # type: ignore[arg-type]
        self.client: Any = _Silent()

    def parse(self, query: bytes, body: bytes) -> None:
        """Bytes of a request up to its signature."""
        try:
            params = parse(query, body)
            rest_payload(query, body)
            for name in (*PUBLIC_ROUTES.values(), *SIGNED_ROUTES.values()):
                assert weight_of(name, params) > 0
            account = next(iter(self.venue.engine.accounts.values()))
            verify(account, params, rest_payload(query, body), self.venue.clock.now())
        except ApiError:
            self.refused += 1

    def operation(self, seed: int) -> None:
        """An operation or a question with random parameters, as it comes after its signature."""
        draw = random.Random(seed)
        name, params = _plausible(draw) if draw.random() < 0.5 else (draw.choice(_ASKED), _params(draw))
        account = next(iter(self.venue.engine.accounts.values()))
        try:
            weight_of(name, params)
            if draw.random() < 0.1:
                ticket(Params(params), self.venue.engine.instruments["BTCUSDT"])
            elif name in PUBLIC or name == "exchangeInfo":
                wire.dump_bytes(self.venue.ask(name, params))
            else:
                wire.dump_bytes(self.venue.run(account, name, params))
            self.answered += 1
        except ApiError as error:
            wire.dump_bytes(error.body())
            self.refused += 1
        self.venue.engine.drain()

    def message(self, data: str | bytes) -> None:
        """A message to both kinds of sockets; each answers exactly once."""
        silent: Any = self.session.client
        before = silent.sent
        self.server.sockets.receive(self.session, data)
        assert silent.sent == before + 1, data
        reply = self.server._requested(self.client, data)
        self.client.send(wire.dumps(reply))
        self.venue.engine.drain()

    def run(self, count: int, seed: int = 0) -> int:
        """As many random inputs of all kinds; returns how many. Raises RuntimeError: naming the seed of one."""
        for number in range(count):
            one = seed * 1_000_000_007 + number
            try:
                self._one(one)
            except Exception as error:
                raise RuntimeError(f"input {one}: {error!r}") from error
            if number % 50 == 49:
                self._check_counts()
                self.venue.step()
            if number % 5000 == 4999:
                # Orders and journal would grow without end.
                self._begin()
        return count

    def _check_counts(self) -> None:
        """No account has more open than the exchange's filters let it."""
        engine = self.venue.engine
        for account in engine.accounts.values():
            live = engine.open_orders(account)
            held = (len(live), sum(one.is_stop for one in live), sum(one.iceberg > 0 for one in live),
                    len({one.list_id for one in live if one.list_id >= 0}))  # fmt: skip
            assert all(map(int.__le__, held, _MOST)), held

    def _one(self, seed: int) -> None:
        draw = random.Random(~seed)
        kind = draw.randrange(10)
        if kind < 5:
            self.operation(seed)
        elif kind < 7:
            parts = [_wire(draw), _wire(draw) if draw.random() < 0.3 else b""]
            self.parse(*parts)
        else:
            self.message(_message(draw))


def _plausible(draw: random.Random) -> tuple[str, dict[str, str]]:
    """A request that is right, or has one thing wrong."""
    name, params, prices = draw.choice(_RIGHT)
    params = params | {one: f"{draw.uniform(0.97, 1.03) * _PRICE:.2f}" for one in prices}
    if draw.random() < 0.4:
        params[draw.choice((*params, draw.choice(_NAMES)))] = draw.choice(_VALUES).replace("\ud800", "?")
    if draw.random() < 0.1:
        params.pop(draw.choice(tuple(params)), None)
    return name, params


def _params(draw: random.Random) -> dict[str, str]:
    """Mostly plausible parameters: an order, or anything."""
    found: dict[str, str] = {"symbol": "BTCUSDT"} if draw.random() < 0.8 else {}
    if draw.random() < 0.5:
        found |= {"side": draw.choice(("BUY", "SELL")), "type": draw.choice(_VALUES[10:17]), "quantity": "0.01"}
        if draw.random() < 0.6:
            found |= {"timeInForce": "GTC", "price": draw.choice(("20000", "40000", "45000"))}
    for _ in range(draw.randrange(5)):
        found[draw.choice(_NAMES)] = draw.choice(_VALUES).replace("\ud800", "?")
    return found


def _wire(draw: random.Random) -> bytes:
    """A query: pairs, some of them damaged."""
    pairs = []
    for _ in range(draw.randrange(8)):
        name, value = (draw.choice(one).encode("utf-8", "replace") for one in (_NAMES, _VALUES))
        pairs.append(b"=".join((name, value)))
    data = bytearray(b"&".join(pairs))
    for _ in range(draw.randrange(3)):
        if data:
            data[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(data)


def _message(draw: random.Random) -> str | bytes:
    """A message: a plausible one, often damaged or signed."""
    params: Any = {name: _loose(draw, value) for name, value in _params(draw).items()}
    shape = draw.random()
    if shape < 0.2:
        params = [draw.choice(_STREAMS) for _ in range(draw.randrange(4))]
    elif shape < 0.5:
        params |= {"apiKey": DEMO_KEY, "timestamp": int(time.time() * 1000)}
        params.pop("signature", None)
        text = "&".join(f"{k}={v}" for k, v in sorted(params.items()))
        params["signature"] = signature(DEMO_SECRET, text.encode("utf-8", "replace"))
    number = draw.choice((1, "a", None, 1.5, True, [], {}, -1))
    text = json.dumps({"id": number, "method": draw.choice((*_METHODS, 7, None)), "params": params})
    if draw.random() < 0.2:
        at = draw.randrange(len(text))
        text = text[:at] + draw.choice(('"', "{", "]", "\\", "\ud800", "0", "")) + text[at + draw.randrange(3) :]
    return text.encode("utf-8", "surrogatepass") if draw.random() < 0.2 else text


def _loose(draw: random.Random, value: str) -> Any:
    return draw.choice((value, value, value, [value], 7, 0.1, None, True, {"a": value}))


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    target, begin = Target(), time.monotonic()
    target.run(wanted, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(f"{wanted:,} inputs in {time.monotonic() - begin:.0f} s: {target.answered:,} answered, "
          f"{target.refused:,} refused, none else")  # fmt: skip
