"""What happens to the exchange itself while it runs: rules that change, halts, thin books, fills out of the blue."""

from decimal import Decimal
from typing import TYPE_CHECKING

from pipeline.exchange.local import exchange_filters
from pipeline.trading.filters import floor_to

if TYPE_CHECKING:
    from pipeline.exchange.local.engine import Engine
    from pipeline.exchange.local.matching import Pit


def run(engine: "Engine", name: str, args: dict[str, str]) -> None:
    """Do it.

    name: `filter` (symbol, filter, and its new values; the filter may be the exchange's own), `status` (symbol,
    status), `cap` (symbol, share: orders that take get no more of what they ask for; "" lifts it) or `fill` (order,
    share: as if traded through).
    Raises KeyError, ValueError, ArithmeticError, BadInput: it makes no sense.
    """
    if name == "fill":
        _fill(engine, int(args["order"]), _share(args["share"]))
        return
    pit = engine.pits[args.pop("symbol")]
    if name == "filter":
        _filter(engine, pit, args.pop("filter"), args)
    elif name == "status":
        pit.instrument.entry = pit.instrument.entry | {"status": args["status"]}
    elif name == "cap":
        pit.cap = _share(args["share"]) if args["share"] else None
    else:
        raise ValueError(f"no such control: {name}")


def _filter(engine: "Engine", pit: "Pit", kind: str, values: dict[str, str]) -> None:
    if kind == exchange_filters.MAX_ASSET:
        exchange_filters.limit_asset(list(engine.accounts.values()), values)
    elif kind in exchange_filters.TYPES:
        engine.filters = engine.filters.changed(kind, values)
    else:
        pit.instrument.change(kind, values)


def _share(text: str) -> Decimal:
    share = Decimal(text)
    if not 0 <= share <= 1:
        raise ValueError("a share lies between 0 and 1")
    return share


def _fill(engine: "Engine", number: int, share: Decimal) -> None:
    order = engine.orders[number]
    qty = floor_to(order.remaining * share, engine.instruments[order.symbol].rules.lots.step)
    if order.is_live and not order.armed and order.is_limit and order.working_time >= 0 and qty > 0:
        engine.traded(order, order.price, qty, maker=True)
