"""What happens when the price reaches something that waits: a conditional order, or the liquidation of a position."""

from typing import TYPE_CHECKING

from pipeline.exchange.local.errors import ApiError
from pipeline.exchange.local.futures import checks
from pipeline.exchange.local.futures.orders import LIQUIDATION, AlgoOrder, FuturesOrder
from pipeline.exchange.local.futures.requests import Request
from pipeline.exchange.local.matching import Pit
from pipeline.exchange.local.numbers import ZERO
from pipeline.exchange.local.orders import Order

if TYPE_CHECKING:
    from pipeline.exchange.local.futures.engine import FuturesEngine


def fire(engine: "FuturesEngine", algo: AlgoOrder) -> None:
    """A conditional order has been reached: it places its order, or expires if that is not possible."""
    account = engine.accounts[algo.account]
    position = engine.wallet(account).position(algo.symbol)
    algo.trigger_time = engine.now
    qty = position.closable(algo.side) if algo.close_position else algo.qty
    kind = "LIMIT" if algo.is_limit else "MARKET"
    order = engine.draft(
        account,
        Request(
            algo.symbol, algo.side, kind, algo.tif, qty, algo.price, ZERO, ZERO, algo.reduce_only,
            algo.close_position, algo.client_id, algo.working_type,
        ),
    )  # fmt: skip
    order.stop_price, order.original_kind, order.algo_id = algo.stop_price, algo.kind, algo.id
    order.close_position = algo.close_position
    try:
        if qty <= 0:
            raise ApiError(*checks.REDUCE_ONLY)
        checks.check_funds(engine, account, order)
    except ApiError:
        # Too late to refuse it: it ends without having placed anything.
        engine.end_algo(algo, "EXPIRED")
        return
    engine.new_order(account, order, -1, None)
    algo.order = order
    engine.end_algo(algo, "TRIGGERED")
    engine.start(order)


def by_mark(engine: "FuturesEngine", mark: Pit) -> None:
    """What the mark price has reached: conditional orders that wait for it, and positions' liquidations."""
    symbol = mark.instrument.symbol
    for algo in [one for one in engine.algos.values() if one.symbol == symbol and engine.waits_for_mark(one)]:
        if algo.status == "NEW" and mark.is_reached(algo):
            fire(engine, algo)
    for account in engine.accounts.values():
        position = engine.wallet(account).position(symbol)
        if position.liquidation and mark.is_reached(waiting := engine.liquidation(account, position)):
            liquidate(engine, waiting)


def liquidate(engine: "FuturesEngine", waiting: Order) -> None:
    """Close a whole position at the market; what the book cannot take goes at the last price.

    The symbol's other orders are canceled before. waiting: the order that stood for the liquidation.
    """
    account, symbol = engine.accounts[waiting.account], waiting.symbol
    position, pit = engine.wallet(account).position(symbol), engine.pits[symbol]
    pit.open.pop(waiting.id, None)
    for one in engine.open_orders(account):
        if one.symbol == symbol:
            engine.end(one, "CANCELED")
    for algo in engine.open_algos(account):
        if algo.symbol == symbol:
            engine.end_algo(algo, "CANCELED")
    order = FuturesOrder(
        0, account.key, symbol, f"autoclose-{engine.now}-{engine.timeline.moments}", waiting.side, LIQUIDATION, "IOC",
        position.size, engine.now, update_time=engine.now, reduce_only=True, original_kind=LIQUIDATION,
    )  # fmt: skip
    engine.new_order(account, order, -1, None)
    order.working_time = engine.now
    engine.tell(order, "NEW")
    pit.take(order)
    if order.remaining > 0:
        engine.traded(order, pit.price, order.remaining, maker=False)
