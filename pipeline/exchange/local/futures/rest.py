"""The REST API of futures: `/fapi`, and the two questions of `/api` that clients ask when they start."""

from collections.abc import Mapping
from typing import ClassVar

from pipeline.exchange.local import wire
from pipeline.exchange.local.errors import ApiError
from pipeline.exchange.local.front import Asked, Reply
from pipeline.exchange.local.futures.users import UserStreams
from pipeline.exchange.local.futures.venue import FuturesVenue
from pipeline.exchange.local.rest import KEY_HEADER, Rest
from pipeline.exchange.local.signing import account_of

_GET, _POST, _PUT, _DELETE = "GET", "POST", "PUT", "DELETE"
_LISTEN_KEY = "/fapi/v1/listenKey"
_PUBLIC = {
    "v1/ping": "ping",
    "v1/time": "time",
    "v1/exchangeInfo": "exchangeInfo",
    "v1/klines": "klines",
    "v1/continuousKlines": "continuousKlines",
    "v1/markPriceKlines": "markPriceKlines",
    "v1/indexPriceKlines": "indexPriceKlines",
    "v1/fundingRate": "fundingRate",
    "v1/fundingInfo": "fundingInfo",
    "v1/premiumIndex": "premiumIndex",
    "v1/ticker/price": "ticker.price",
    "v2/ticker/price": "ticker.price",
    "v1/ticker/bookTicker": "ticker.book",
    "v1/ticker/24hr": "ticker.24hr",
    "v1/depth": "depth",
    "v1/trades": "trades.recent",
    "v1/historicalTrades": "trades.recent",
    "v1/aggTrades": "trades.aggregate",
}
_SIGNED = {
    (_POST, "v1/order"): "order.place",
    (_POST, "v1/order/test"): "order.test",
    (_GET, "v1/order"): "order.status",
    (_DELETE, "v1/order"): "order.cancel",
    (_GET, "v1/openOrder"): "openOrder.status",
    (_GET, "v1/openOrders"): "openOrders.status",
    (_DELETE, "v1/allOpenOrders"): "openOrders.cancelAll",
    (_GET, "v1/allOrders"): "allOrders",
    (_GET, "v1/userTrades"): "userTrades",
    (_POST, "v1/algoOrder"): "algoOrder.place",
    (_GET, "v1/algoOrder"): "algoOrder.status",
    (_DELETE, "v1/algoOrder"): "algoOrder.cancel",
    (_DELETE, "v1/algoOpenOrders"): "openAlgoOrders.cancelAll",
    (_GET, "v1/openAlgoOrders"): "openAlgoOrders.status",
    (_GET, "v1/allAlgoOrders"): "allAlgoOrders",
    (_POST, "v1/leverage"): "leverage",
    (_POST, "v1/marginType"): "marginType",
    (_GET, "v1/positionSide/dual"): "positionSide.get",
    (_POST, "v1/positionSide/dual"): "positionSide.set",
    (_GET, "v1/multiAssetsMargin"): "multiAssetsMargin.get",
    (_POST, "v1/multiAssetsMargin"): "multiAssetsMargin.set",
    (_POST, "v1/positionMargin"): "positionMargin",
    (_GET, "v1/leverageBracket"): "leverageBracket",
    (_GET, "v2/balance"): "balance.v2",
    (_GET, "v3/balance"): "balance.v3",
    (_GET, "v2/account"): "account.v2",
    (_GET, "v3/account"): "account.v3",
    (_GET, "v2/positionRisk"): "positionRisk.v2",
    (_GET, "v3/positionRisk"): "positionRisk.v3",
    (_GET, "v1/income"): "income",
    (_GET, "v1/commissionRate"): "commissionRate",
    (_GET, "v1/accountConfig"): "accountConfig",
    (_GET, "v1/symbolConfig"): "symbolConfig",
}


class FuturesRest(Rest):
    """Answers requests of one futures venue; see `Rest`."""

    public: ClassVar[Mapping[str, str]] = {f"/fapi/{path}": name for path, name in _PUBLIC.items()} | {
        "/api/v3/ping": "ping",
        "/api/v3/time": "time",
    }
    signed: ClassVar[Mapping[tuple[str, str], str]] = {
        (method, f"/fapi/{path}"): name for (method, path), name in _SIGNED.items()
    }

    def __init__(self, venue: FuturesVenue, users: UserStreams) -> None:
        super().__init__(venue)
        self.users = users

    def name_of(self, method: str, path: str) -> str | None:
        """What a request does; a listen key is asked for without a signature, and no fault concerns it."""
        if path == _LISTEN_KEY and method in (_POST, _PUT, _DELETE):
            return _LISTEN_KEY
        return super().name_of(method, path)

    def at_once(self, name: str, asked: Asked) -> Reply:
        """The reply where no fault waits."""
        return self._listen_key(asked) if name == _LISTEN_KEY else super().at_once(name, asked)

    async def reply(self, name: str, asked: Asked) -> Reply | None:
        """The reply, after what faults do before it."""
        return self._listen_key(asked) if name == _LISTEN_KEY else await super().reply(name, asked)

    def _listen_key(self, asked: Asked) -> Reply:
        """Start, keep or stop a user data stream: by the API key alone."""
        try:
            self.venue.charge(asked.address, "listenKey", {})
            account = account_of(asked.header(KEY_HEADER), self.venue.engine.accounts)
            if asked.method == _DELETE:
                self.users.stop(account)
                return Reply(b"{}")
            key = self.users.start(account) if asked.method == _POST else self.users.keep(account)
        except ApiError as error:
            return self._refusal(error, asked.address)
        return Reply(wire.dump_bytes({"listenKey": key}))
