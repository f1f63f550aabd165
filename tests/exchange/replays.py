"""Small exchanges for tests: a few bars of BTCUSDT, one account, and a market model without frills."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from pipeline.exchange.local.accounts import Account, Balance
from pipeline.exchange.local.engine import Engine
from pipeline.exchange.local.errors import ApiError
from pipeline.exchange.local.history import Series
from pipeline.exchange.local.instruments import Instrument, of_series
from pipeline.exchange.local.journal import Journal
from pipeline.exchange.local.matching import MarketModel
from pipeline.exchange.local.operations import call
from pipeline.exchange.local.orders import Order

START_MS = 1_704_067_200_000
MINUTE = 60_000
# (open, high, low, close) or with a volume as the fifth.
Bar = tuple[float, ...]
# No spread, unlimited size at the last price, no bound on what resting orders get.
PLAIN = {"spread_bps": 0, "levels": 0, "participation": 0}


def series_of(bars: Sequence[Bar], volume: float = 1000.0, step_ms: int = MINUTE) -> Series:
    """Bars as a series; each has 10 trades, half of the volume bought by takers."""
    table = np.array([(*bar[:4], bar[4] if len(bar) > 4 else volume) for bar in bars], dtype=np.float64)
    o, h, l, c, v = table.T.copy()  # noqa: E741
    n = len(bars)
    assert (h >= np.maximum(o, c)).all() and (l <= np.minimum(o, c)).all()
    return Series(
        {MINUTE: "1m", 60 * MINUTE: "1h"}[step_ms],
        START_MS + step_ms * np.arange(n, dtype=np.int64),
        o, h, l, c, v, v * c, v / 2, v * c / 2,
        np.full(n, 10, np.int64),
        10 * np.arange(n, dtype=np.int64),
    )  # fmt: skip


def instrument(
    tick: str = "0.01", step: str = "0.001", changes: Mapping[str, Mapping[str, Any]] | None = None
) -> Instrument:
    """BTCUSDT with the filters of a usual symbol. changes: values of filters by name; {} for one takes it away."""
    made = of_series("BTCUSDT", series_of([(100, 100, 100, 100)]))
    wanted: dict[str, Mapping[str, Any]] = {
        "PRICE_FILTER": {"minPrice": tick, "tickSize": tick},
        "LOT_SIZE": {"minQty": step, "stepSize": step},
    } | dict(changes or {})
    filters = [one | dict(wanted.get(one["filterType"], {})) for one in made.entry["filters"]]
    filters += [
        {"filterType": name, **values}
        for name, values in wanted.items()
        if name not in {one["filterType"] for one in filters}
    ]
    return Instrument("BTCUSDT", "BTC", "USDT", made.entry | {"filters": filters})


@dataclass
class Replay:
    """An engine and the account that trades on it."""

    engine: Engine
    account: Account

    def call(self, name: str, **params: Any) -> Any:
        """Run an operation on BTCUSDT, unless another symbol is given; None leaves a parameter out."""
        raw = {"symbol": "BTCUSDT"} | params
        return call(self.engine, self.account, name, {k: str(v) for k, v in raw.items() if v is not None})

    def refusal(self, name: str, **params: Any) -> tuple[int, str]:
        """Code and message of the refusal; fails if there is none."""
        try:
            reply = self.call(name, **params)
        except ApiError as error:
            return error.code, error.message
        raise AssertionError(f"accepted: {reply}")

    def place(self, side: str, kind: str, **params: Any) -> Order:
        """Place an order; LIMIT and *_LIMIT are GTC unless said otherwise."""
        if kind in ("LIMIT", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"):
            params = {"timeInForce": "GTC"} | params
        return self.engine.orders[self.call("order.place", side=side, type=kind, **params)["orderId"]]

    def balance(self, asset: str) -> tuple[str, str]:
        """Free and locked, without the zeros at the end."""
        one = self.account.balances.get(asset, Balance())
        return plain(one.free), plain(one.locked)

    def events(self, kind: str = "executionReport") -> list[dict[str, Any]]:
        """Events of a kind since the last look, in order."""
        return [event for _, event in self.engine.drain() if event["e"] == kind]


def plain(value: Decimal) -> str:
    """`1.5` of 1.50000000."""
    return f"{value.normalize():f}" if value else "0"


def fills(order: Order) -> list[tuple[str, str]]:
    """Price and quantity of each fill."""
    return [(plain(trade.price), plain(trade.qty)) for trade in order.trades]


def replay(
    *bars: Bar,
    balances: Mapping[str, str] | None = None,
    fees: tuple[str, str] = ("0", "0"),
    rules: Instrument | None = None,
    history: int = 1,
    seed: int = 0,
    volume: float = 1000.0,
    journal: Journal | None = None,
    **model: Any,
) -> Replay:
    """An exchange that stands at the open of the bar after the history. fees: maker and taker."""
    held = {"USDT": "10000", "BTC": "10"} if balances is None else balances
    account = Account("key", "secret", 1, Decimal(fees[0]), Decimal(fees[1]))
    account.balances = {asset: Balance(Decimal(amount)) for asset, amount in held.items()}
    engine = Engine(
        {"BTCUSDT": rules or instrument()},
        {"BTCUSDT": series_of(bars, volume)},
        [account],
        start_ms=START_MS + history * MINUTE,
        seed=seed,
        model=MarketModel.model_validate(PLAIN | model),
        journal=journal,
    )
    return Replay(engine, account)
