"""Order lists: one cancels the other (OCO), one triggers others (OTO, OTOCO)."""

from typing import TYPE_CHECKING, Any

from pipeline.exchange.local import placing, requests
from pipeline.exchange.local.accounts import Account
from pipeline.exchange.local.errors import ApiError, rejected
from pipeline.exchange.local.orders import STOPS, Order, OrderList
from pipeline.exchange.local.requests import Params, Ticket

if TYPE_CHECKING:
    from pipeline.exchange.local.engine import Engine

_LEGS = ("LIMIT_MAKER", *STOPS)


def place(engine: "Engine", account: Account, kind: str, p: Params) -> dict[str, Any]:
    """Place an `oco`, `oto` or `otoco` list. Raises ApiError, and then nothing of it is placed."""
    instrument = p.symbol(engine.instruments)
    list_client_id = p.client_id("listClientOrderId")
    tickets: list[Ticket] = []
    if kind in ("oto", "otoco"):
        shared = {"side": "workingSide", "quantity": "workingQuantity"}
        tickets.append(requests.ticket(p, instrument, "working", shared, ("LIMIT", "LIMIT_MAKER")))
    if kind == "oto":
        tickets.append(requests.ticket(p, instrument, "pending", {}))
    else:
        prefix = "pendingA" if kind == "otoco" else "a"
        fixed = {"side": "pendingSide", "quantity": "pendingQuantity"} if kind == "otoco" else {
            "side": "side", "quantity": "quantity"}  # fmt: skip
        for place_ in ("above", "below"):
            name = place_ if kind == "oco" else prefix[:-1] + place_.capitalize()
            tickets.append(requests.ticket(p, instrument, name, fixed, _LEGS))
    reply = requests.reply_kind(p, "RESULT")
    p.done()
    return _placed(engine, account, kind, tickets, list_client_id, reply)


def _placed(
    engine: "Engine", account: Account, kind: str, tickets: list[Ticket], list_client_id: str | None, reply: str
) -> dict[str, Any]:
    pit = engine.pits[tickets[0].symbol]
    _check(engine, account, kind, tickets, list_client_id)
    drafts = [placing.draft(engine, account, ticket) for ticket in tickets]
    # The legs of an OCO reserve together: only one of them can be filled.
    first = tickets if kind == "oco" else tickets[:1]
    costs = [placing.cost(pit, ticket, ticket.qty) for ticket in first]
    lock = account.reserve(*max(costs, key=lambda cost: cost[1]))
    list_id = engine.next_list_id()
    orders = [
        engine.new_order(account, draft, list_id, lock if number < len(first) else None)
        for number, draft in enumerate(drafts)
    ]
    working, legs = (None, orders) if kind == "oco" else (orders[0], orders[1:])
    made = OrderList(
        list_id,
        account.key,
        pit.instrument.symbol,
        list_client_id or engine.client_id(),
        "OCO" if kind == "oco" else "OTO",
        engine.now,
        legs,
        working,
    )
    engine.lists[list_id] = made
    engine.tell_list(made)
    if working is None:
        _start(engine, legs)
    else:
        for leg in legs:
            leg.status, leg.armed = "PENDING_NEW", False
            engine.tell(leg, "NEW")
        engine.start(working)
    _close(engine, made)
    return made.view() | {"orderReports": [order.placed(reply) for order in made.orders]}


def _check(engine: "Engine", account: Account, kind: str, tickets: list[Ticket], list_client_id: str | None) -> None:
    """Refuse a list before any of it is placed. Raises ApiError."""
    pit = engine.pits[tickets[0].symbol]
    entry = pit.instrument.entry
    if not entry.get("ocoAllowed" if kind == "oco" else "otoAllowed", True):
        raise rejected(f"{kind.upper()} orders are not supported for this symbol")
    live = [one for one in engine.lists.values() if one.status == "EXECUTING" and one.account == account.key]
    if list_client_id and any(one.client_id == list_client_id for one in live):
        raise rejected("Duplicate order sent.")
    for number, ticket in enumerate(tickets):
        placing.check_symbol(engine, account, ticket, tickets[:number])
    most = int(pit.instrument.number("MAX_NUM_ORDER_LISTS", "maxNumOrderLists"))
    if most and sum(one.symbol == pit.instrument.symbol for one in live) >= most:
        raise ApiError(-1013, "Filter failure: MAX_NUM_ORDER_LISTS")
    placing.check_exchange(engine, account, tickets, lists=1)
    placing.check_unused(engine, account, tickets)
    if kind == "oco":
        requests.check_prices(tickets[0], tickets[1], pit.price)
    elif kind == "otoco":
        # The pending pair is placed later, when the working order is filled: around its price.
        requests.check_prices(tickets[1], tickets[2], tickets[0].price)
    if kind != "oco":
        placing.check_market(pit, placing.draft(engine, account, tickets[0]))


def _start(engine: "Engine", legs: list[Order]) -> None:
    """Start the legs of a pair, the stop first: a limit that fills at once must find it in place."""
    for leg in sorted(legs, key=lambda one: not one.armed):
        if leg.is_live:
            engine.start(leg)


def progress(engine: "Engine", order: Order) -> None:
    """What the other orders of a list do when one was filled in part or whole, triggered, or has ended."""
    orders = engine.lists[order.list_id]
    if order is orders.working:
        if order.status == "FILLED":
            _activate(engine, orders)
        elif not order.is_live:
            for leg in orders.legs:
                leg.expiry_reason = "OTO_PHASE_ONE_EXPIRED" if order.status == "EXPIRED" else ""
                engine.end(leg, order.status, quiet=True)
    elif _is_pair(orders):
        triggered = order.is_stop and not order.armed and order.status == "NEW"
        if triggered or order.status in ("PARTIALLY_FILLED", "FILLED", "CANCELED"):
            for leg in orders.legs:
                if leg is not order and leg.is_live:
                    leg.expiry_reason = "OCO_TRIGGER"
                    engine.end(leg, "EXPIRED", quiet=True)
    _close(engine, orders)


def cancel(engine: "Engine", orders: OrderList, cancel_id: str) -> dict[str, Any]:
    """Cancel what is live of a list; the reply to `DELETE /api/v3/orderList`."""
    live = [order for order in orders.orders if order.is_live]
    for order in live:
        engine.end(order, "CANCELED", cancel_id, quiet=True)
    _close(engine, orders)
    return orders.view() | {"orderReports": [order.canceled(cancel_id) for order in live]}


def _is_pair(orders: OrderList) -> bool:
    return len(orders.legs) == 2


def _activate(engine: "Engine", orders: OrderList) -> None:
    """The working order is filled: the pending ones are placed, as far as the account can pay for them."""
    account = engine.accounts[orders.account]
    pending = [leg for leg in orders.legs if leg.status == "PENDING_NEW"]
    if not pending:
        return
    pit = engine.pits[orders.symbol]
    costs = [placing.cost(pit, leg, leg.qty) for leg in pending]
    asset, amount = max(costs, key=lambda cost: cost[1])
    try:
        lock = account.reserve(asset, amount)
    except ApiError:
        for leg in pending:
            leg.expiry_reason = "REJECTED"
            engine.end(leg, "EXPIRED", quiet=True)
        return
    for leg in pending:
        leg.lock, leg.status, leg.armed = lock, "NEW", leg.is_stop
    if len(pending) > 1:
        for leg in pending:
            if leg.kind == "LIMIT_MAKER" and pit.crosses(leg.side, leg.price):
                # A target that the market has passed already may not take; the stop beside it stays.
                leg.expiry_reason = "REJECTED"
                engine.end(leg, "EXPIRED", quiet=True)
    _start(engine, pending)
    engine.count_ambiguous(pit)


def _close(engine: "Engine", orders: OrderList) -> None:
    if orders.status == "EXECUTING" and not any(order.is_live for order in orders.orders):
        orders.status = orders.status_type = "ALL_DONE"
        engine.tell_list(orders)
