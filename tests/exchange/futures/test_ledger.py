"""Whatever happens, the wallet is the sum of its bookings, and the same things happen again."""

from decimal import Decimal

import pytest
from exchange.futures.contracts import HOUR, Contracts, contracts
from exchange.replays import START_MS, Bar
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.exchange.local.errors import ApiError

_prices = st.integers(8000, 12500).map(lambda cents: cents / 100)


@st.composite
def bars(draw: st.DrawFn) -> list[Bar]:
    """Twenty-odd bars that jump and move."""
    made: list[Bar] = []
    for _ in range(draw(st.integers(3, 24))):
        o, a, b, c = (draw(_prices) for _ in range(4))
        made.append((o, max(o, a, b, c), min(o, a, b, c), c))
    return made


_orders = st.lists(
    st.fixed_dictionaries(
        {
            "side": st.sampled_from(["BUY", "SELL"]),
            "type": st.sampled_from(["MARKET", "LIMIT", "STOP_MARKET", "TAKE_PROFIT", "TRAILING_STOP_MARKET"]),
            "quantity": st.integers(1, 600_000).map(lambda n: f"{n / 1000:.3f}"),
            "price": _prices.map(lambda price: f"{price:.2f}"),
            "level": _prices.map(lambda price: f"{price:.2f}"),
            "timeInForce": st.sampled_from(["GTC", "IOC", "FOK", "GTX"]),
            "reduceOnly": st.sampled_from(["true", "false"]),
            "leverage": st.sampled_from([1, 3, 10, 50, 125]),
        }
    ),
    max_size=40,
)


def send(c: Contracts, one: dict[str, str]) -> None:
    """Set the leverage and place an order, if the exchange lets us."""
    kind, plain = one["type"], {"symbol": "BTCUSDT", "quantity": one["quantity"], "reduceOnly": one["reduceOnly"]}
    plain |= {"side": one["side"], "type": kind}
    if kind == "LIMIT":
        plain |= {"price": one["price"], "timeInForce": one["timeInForce"]}
    elif kind == "TRAILING_STOP_MARKET":
        plain |= {"callbackRate": "1.5", "activatePrice": one["level"]}
    elif kind != "MARKET":
        plain |= {"triggerPrice": one["level"]}
    if kind == "TAKE_PROFIT":
        plain["price"] = one["price"]
    for name, params in (
        ("leverage", {"symbol": "BTCUSDT", "leverage": one["leverage"]}),
        ("order.place", plain) if kind in ("MARKET", "LIMIT") else ("algoOrder.place", plain | _ALGO),
    ):
        try:
            c.call(name, **params)
        except ApiError:
            continue


_ALGO = {"algoType": "CONDITIONAL"}


def play(market: list[Bar], orders: list[dict[str, str]]) -> Contracts:
    """An order at each moment, and the market to its end."""
    c = contracts(
        *market,
        fees=("0.0002", "0.0005"),
        step_ms=HOUR,
        rates={START_MS + HOUR * n: 0.0013 * (-1) ** n for n in range(0, 24, 3)},
        spread_bps=2,
        levels=5,
        level_share="0.1",
        touch_fill=True,
    )
    for one in orders:
        send(c, one)
        c.engine.advance()
    while not c.engine.done:
        c.engine.advance()
    return c


@settings(max_examples=150, deadline=None)
@given(bars(), _orders)
def test_wallet_is_deposits_and_bookings_to_the_last_digit(market: list[Bar], orders: list[dict[str, str]]) -> None:
    c = play(market, orders)
    booked = sum((one.amount for one in c.engine.wallet(c.account).incomes), Decimal(0))
    assert c.wallet == 10000 + booked
    position, fills = c.position, c.engine.trades["BTCUSDT"]
    # The position is the sum of the fills, and with what was realised and paid for what is open, so is the money.
    assert position.qty == sum((f.qty if f.buyer else -f.qty for f in fills), Decimal(0))
    paid = sum((f.quote if f.buyer else -f.quote for f in fills), Decimal(0))
    assert position.realized == position.side * position.cost - paid
    assert position.realized == sum(c.income("REALIZED_PNL"), Decimal(0))
    assert -sum(c.income("COMMISSION"), Decimal(0)) == sum((f.commission for f in fills), Decimal(0))  # type: ignore[attr-defined]
    assert (position.cost == 0) == (position.qty == 0) == (position.liquidation == 0 and position.margin == 0)


@settings(max_examples=60, deadline=None)
@given(bars(), _orders)
def test_reduce_only_orders_never_open(market: list[Bar], orders: list[dict[str, str]]) -> None:
    c = play(market, [one | {"reduceOnly": "true"} for one in orders])
    assert (c.position.qty, c.wallet, c.engine.trades["BTCUSDT"]) == (0, 10000, [])


@settings(max_examples=30, deadline=None)
@given(bars(), _orders)
def test_the_same_market_and_orders_give_the_same_journal(market: list[Bar], orders: list[dict[str, str]]) -> None:
    assert play(market, orders).engine.journal.text() == play(market, orders).engine.journal.text()


def test_a_deposit_is_booked_too() -> None:
    c = contracts((100, 100, 100, 100), (100, 100, 100, 100))
    c.engine.deposit(c.account, "USDT", Decimal("12.5"))
    assert (c.wallet, c.income("TRANSFER")) == (Decimal("10012.5"), [Decimal("12.5")])
    with pytest.raises(Exception, match="cannot fall"):
        c.engine.deposit(c.account, "USDT", Decimal(-20_000))
