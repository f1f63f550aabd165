"""Every fault of the menu, with what `serve` is expected to make of it."""

import re
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from live.faulting import Case, Fault, Life, Story
from live.processes import SYMBOL, told

from pipeline.artifacts import Layout
from pipeline.exchange.local import lists
from pipeline.exchange.local.faults import Fault as Damage
from pipeline.live import control
from pipeline.stages.control import control_file

Act = Callable[[Life], tuple[float, float]]
_PLACE, _PAIR, _CANCEL = "order.place", "orderList.place*", "order*.cancel"


def one(kind: str, where: str = "*", lasts: float = 0.0, count: int = 1, **args: Any) -> Act:
    """A fault, once."""
    return lambda life: life.inflict(Fault(kind, where, count, lasts, args))


def sequence(*acts: Callable[[Life], tuple[float, float] | None]) -> Act:
    """One after the other; the times are those of the last one that has any."""

    def act(life: Life) -> tuple[float, float]:
        times = [one_act(life) for one_act in acts]
        return next(found for found in reversed(times) if found is not None)

    return act


def armed(kind: str, where: str = "*", count: int = 1, **args: Any) -> Callable[[Life], None]:
    """A fault that waits for what comes next."""

    def act(life: Life) -> None:
        life.exchange.fault(kind, where=where, count=count, **args)

    return act


def noted(pattern: str) -> Callable[[Life], None]:
    """Wait until the adapter has said something that it had not said before."""

    def act(life: Life) -> None:
        life.until(lambda: any(re.search(pattern, str(one["reason"])) for one in told("exchange")[life.notes :]))

    return act


def stock_taken(life: Life) -> None:
    """Wait until the exchange has been asked for everything, since the last fault."""
    begun = life.witness.faults[-1][0]
    life.until(
        lambda: {"openOrders.status", "myTrades"} <= {name for at, name, _ in life.witness.requests if at >= begun}
    )  # fmt: skip


def ended_by(begin: Act, end: Callable[[Life], Any], seconds: float) -> Act:
    """A fault that goes on until it is taken away."""

    def act(life: Life) -> tuple[float, float]:
        begun, _ = begin(life)
        life.until(lambda: time.monotonic() >= begun + seconds)
        end(life)
        return begun, time.monotonic()

    return act


def held(life: Life) -> None:
    """Wait for a position that has its stop and target on the exchange."""
    life.until(
        lambda: life.tail.books.held(SYMBOL) > Decimal("0.001") and len(life.tail.books.guards(SYMBOL)) == 2
        and life.is_clear()
    )  # fmt: skip


# What is expected of a story


def says(pattern: str) -> Callable[[Story], list[str]]:
    """The adapter has noted something."""
    return lambda story: [] if story.has_note(pattern) else [f"nothing was said of {pattern}"]


def no_storm(story: Story) -> list[str]:
    """A clock that is wrong is measured again, and not tried again and again."""
    refused = story.codes.count(-1021)
    return [] if refused <= 5 else [f"{refused} requests were refused for their time"]


def few_orders(story: Story) -> list[str]:
    """A refusal is not answered by a hail of orders: at most a few for each bar."""
    sent = sum(name == "order.place" or name.startswith("orderList.place") for _, name, _ in story.requests)
    bars = len(story.of("BAR")) + 1
    return [] if sent <= 4 * bars + 8 else [f"{sent} orders in {bars} bars"]


def refused_or_expired(story: Story) -> list[str]:
    """At least one order of the story has not become one."""
    ends = {body["event"] for body in story.of("OUTCOME")}
    return [] if ends & {"reject", "prove absent"} else [f"no order was given up: {sorted(ends)}"]


def filled_in(story: Story) -> list[str]:
    """A bar that does not exist is filled, and no signal made of it."""
    made = [body for body in story.of("BAR") if body["s"][SYMBOL]["filled"]]
    wrong = [] if made else ["no bar was filled in"]
    return wrong + [f"bar {body['t']} ordered something" for body in made if body["s"][SYMBOL]["order"]]


def revised(story: Story) -> list[str]:
    """REST's word counts."""
    by_time = {body["t"]: body["s"][SYMBOL]["close"] for body in story.of("BAR")}
    times = {body["t"]: float(f"{story.life.closes[body['t']] * 1.001:.8f}") for body in story.of("BAR")}
    return says("REST is taken")(story) + (
        [] if any(by_time[at] == times[at] for at in story.life.revised if at in by_time) else ["the stream was taken"]
    )


def took_stock(story: Story) -> list[str]:
    """After a subscription that was lost, the exchange is asked for what is true."""
    asked = {name for _, name, _ in story.requests}
    return [] if {"openOrders.status", "myTrades"} <= asked else [f"only {sorted(asked)} were asked"]


def nothing_during(seconds: float) -> Callable[[Story], list[str]]:
    """No request reaches the exchange while it has barred us."""

    def check(story: Story) -> list[str]:
        begun = next(at for at, kind in story.life.witness.faults[::-1] if kind in ("rate_limit", "waf"))
        # What was on its way when the ban was told has been sent before it was known.
        early = [name for at, name, _ in story.requests if begun + 0.5 < at < begun + seconds - 0.1]
        return [f"sent while barred: {early}"] if early else []

    return check


# Faults that are more than one


def revise(life: Life) -> tuple[float, float]:
    """Another close than the stream told."""
    times = one("kline_revised")(life)
    life.revised |= {at for _, at in life.exchange._thread.call(lambda server: set(server.venue.revised))}
    return times


def foreign(side: str, price: bool) -> Act:
    """Somebody else's order; entries are refused until a person has looked, and resumes."""

    def act(life: Life) -> tuple[float, float]:
        held(life)
        name = f"other-{len(life.foreign)}"
        life.foreign.add(name)
        params = {"symbol": SYMBOL, "newClientOrderId": name, "side": side, "type": "MARKET", "quantity": "0.1"}
        if price:
            far = round(life.tail.bars()[-1]["s"][SYMBOL]["close"] * 0.9)
            params |= {"type": "LIMIT", "price": f"{far}.00", "timeInForce": "GTC"}
        return resumed(life, one("foreign_order", params=params)(life), name)

    return act


def resumed(life: Life, times: tuple[float, float], name: str = "") -> tuple[float, float]:
    """Wait until the symbol is halted, see that nothing enters, put it right, and resume."""
    life.until(lambda: SYMBOL in life.tail.books.halted)
    halted, count = life.market_ms(), sum(body["leg"] == "entry" for body in intents(life))
    life.until(lambda: len(life.decided(halted)) >= 4)
    assert sum(body["leg"] == "entry" for body in intents(life)) == count, "it entered though the symbol is halted"
    client = life.exchange.client()
    client.timestamp_offset = client.get_server_time()["serverTime"] - int(time.time() * 1000)
    if name and any(one["clientOrderId"] == name for one in client.get_open_orders(symbol=SYMBOL)):
        client.cancel_order(symbol=SYMBOL, origClientOrderId=name)
    control.ask(control_file(Layout("t")), "resume", {"symbols": [SYMBOL]})
    return times[0], time.monotonic()


def intents(life: Life) -> list[dict[str, Any]]:
    """Orders that were wanted so far."""
    return [body for kind, body in life.tail.records if kind == "INTENT"]


def withdrawal(life: Life) -> tuple[float, float]:
    """By hand, our stop is cancelled and what we hold is taken away; then it is put back, and the symbol resumed."""
    held(life)

    def take_away(server: Any) -> Decimal:
        engine = server.venue.engine
        account = next(iter(engine.accounts.values()))
        for made in [one for one in engine.lists.values() if one.status == "EXECUTING"]:
            lists.cancel(engine, made, "by-hand")
        qty = account.balance("BTC").free
        server.venue.add_fault(Damage(kind="foreign_deposit", args={"asset": "BTC", "amount": f"-{qty:f}"}))
        return Decimal(qty)

    begun = time.monotonic()
    qty = life.exchange._thread.call(take_away)
    life.until(lambda: SYMBOL in life.tail.books.halted)
    life.exchange.fault("foreign_deposit", asset="BTC", amount=f"{qty:f}")
    return resumed(life, (begun, begun))


def stop_cancelled(life: Life) -> tuple[float, float]:
    """By hand, our stop and target are cancelled: the position gets others though the symbol is halted."""
    held(life)
    before = {one.order.client_order_id for one in life.tail.books.guards(SYMBOL)}

    def cancel(server: Any) -> None:
        engine = server.venue.engine
        for made in [one for one in engine.lists.values() if one.status == "EXECUTING"]:
            lists.cancel(engine, made, "by-hand")
        server.venue.deliver()

    begun = time.monotonic()
    life.exchange._thread.call(cancel)
    life.until(lambda: SYMBOL in life.tail.books.halted)

    def is_protected() -> bool:
        books = life.tail.books
        live_now = {one.order.client_order_id for one in books.guards(SYMBOL) if not one.is_unresolved}
        # A signal may have left the position meanwhile: exits stay possible.
        return bool(live_now - before) or books.held(SYMBOL) < Decimal("0.001")

    life.until(is_protected)
    return resumed(life, (begun, begun))


def fills_unseen(life: Life) -> tuple[float, float]:
    """The target is filled, and no event tells of it."""
    held(life)
    begun = time.monotonic()

    def fill(server: Any) -> None:
        engine = server.venue.engine
        server.venue.add_fault(Damage(kind="report_lost", where="executionReport", count=3))
        for order in list(engine.orders.values()):
            if order.is_live and order.kind == "LIMIT_MAKER":
                engine.control("fill", order=str(order.id), share="1")
        server.venue.deliver()

    with life.market.still():
        life.exchange._thread.call(fill)
        life.until(lambda: life.tail.books.held(SYMBOL) < Decimal("0.0001"))
    return begun, begun


def barred_then_killed(life: Life) -> tuple[float, float]:
    """The ban is longer than this test has time for."""
    one("waf", lasts=8)(life)
    return killed(life)


def killed(life: Life) -> tuple[float, float]:
    """kill -9, and a new start."""
    life.served.kill()
    begun = time.monotonic()
    life.served.start()
    return begun, time.monotonic()


def killed_in_outage(life: Life) -> tuple[float, float]:
    """Both ends die at the same time."""
    life.served.kill()
    begun, _ = time.monotonic(), life.exchange.fault("restart", seconds=1)
    life.served.start()
    return begun, time.monotonic()


def trades_again(life: Life) -> None:
    """The symbol is open again."""
    life.exchange.fault("symbol_status", symbol=SYMBOL, status="TRADING")


def other_lots(life: Life) -> tuple[float, float]:
    """A size of a lot that the multiples of the one before do not fit; what is worth an order is more than one lot."""
    before = sum(kind == "filter_change" for _, kind in life.witness.faults)
    step = ("0.0001", "0.00007", "0.00003")[before % 3]
    return one("filter_change", symbol=SYMBOL, filter="LOT_SIZE", values={"stepSize": step, "minQty": step})(life)


def unfound(life: Life) -> tuple[float, float]:
    """An order whose reply is lost, and that the first question does not find."""
    seen = len(life.witness.faults)
    armed("not_found")(life)
    while True:
        times = one("lose_reply", _PLACE, how="-1007")(life)
        # Where the user stream was quicker, nobody had to ask.
        life.until(lambda: "not_found" in [kind for _, kind in life.witness.faults[seen:]] or life.is_clear())
        if "not_found" in [kind for _, kind in life.witness.faults[seen:]]:
            return times


def traded_since_change(story: Story) -> list[str]:
    """After the refusal the rules are asked for anew, and orders are accepted again."""
    asked = any(name == "exchangeInfo" for _, name, _ in story.requests)
    return [] if asked and story.of("FILL") else ["the new rules were not asked for, or nothing was traded by them"]


def traded(fills: int) -> Callable[[Life], None]:
    """Let it go on for some fills, so that the story has orders in it."""

    def act(life: Life) -> None:
        before = sum(kind == "FILL" for kind, _ in life.tail.records)
        life.until(lambda: sum(kind == "FILL" for kind, _ in life.tail.records) >= before + fills)

    return act


GAPLESS = "resumed; bars in between asked for; each bar once"
ONE_FILL = "its event tells, or it is asked for by its name; one order, its fills once"
CASES: tuple[Case, ...] = (
    Case("W1", "market socket closed (1001)", GAPLESS, one("ws_drop", mode="clean"), says("market: ")),
    Case("W1", "market socket reset", GAPLESS, one("ws_drop", mode="rst"), says("market: "), is_long=True),
    Case("W2", "market socket half-open 20 s",
         "noticed within 13 s (the goal was 9 s), replaced; decisions go on by REST",
         sequence(one("ws_half_open", seconds=20), noted("market: no answer within 5 s"))),
    Case("W3", "outage of 5 s", "waits; catches up; no entry by a stale bar", one("outage", lasts=5, seconds=5),
         counted="end"),
    Case("W3", "outage of 90 s", "waits; catches up; no entry by a stale bar", one("outage", lasts=90, seconds=90),
         counted="end", is_long=True),
    Case("W4", "closed bar told twice", "each bar once", one("kline_duplicate", SYMBOL)),
    Case("W4", "closed bar after the next one", "each bar once, in order", one("kline_out_of_order", SYMBOL)),
    Case("W4", "open bar after it was closed", "open bars are not used", one("kline_late_open", SYMBOL)),
    Case("W5", "closed bar not told", "asked for by REST", one("kline_missing", SYMBOL)),
    Case("W5", "bar missing everywhere", "filled as the batch stages do; no signal by it",
         one("bar_missing", SYMBOL), filled_in),
    Case("W6", "REST has another close", "REST is taken, and it is logged", revise, revised),
    Case("W7", "serverShutdown on all sockets", "replaced before they close",
         one("server_shutdown", lasts=2, seconds=2), says("replaced before it is closed")),
    Case("W8", "frame that is no JSON", "socket replaced", one("ws_malformed"), says("market: ")),
    Case("W8", "frame of 2 MB", "nothing is lost", one("ws_huge")),
    Case("W8", "burst of 10,000 messages", "nothing is lost", one("ws_burst")),
    Case("A1", "WebSocket API closed", "subscribed anew, and all asked for",
         sequence(one("wsapi_drop"), stock_taken), says("user: ")),
    Case("A2", "subscription answered late by an error", "given up after 5 s, subscribed anew",
         sequence(armed("wsapi_late_error", seconds=12), one("wsapi_drop"), noted("user: cannot be opened"),
                  stock_taken)),
    Case("A3", "event of an order lost", "the reply, or a question, tells the same",
         one("report_lost", "executionReport", count=2)),
    Case("A3", "event of an order twice", "booked once", one("report_duplicated", "executionReport", count=2)),
    Case("A3", "events of orders swapped", "booked all the same", one("report_reordered", "executionReport")),
    Case("A3", "events of a filled target lost", "the balance shows it; asked for", fills_unseen),
    Case("A3", "event before the reply", "booked once", one("report_before_reply")),
    Case("O1", "order executed, connection dropped", ONE_FILL, one("lose_reply", _PLACE, how="drop")),
    Case("O1", "order executed, 504", ONE_FILL, one("lose_reply", _PLACE, how="504"), is_long=True),
    Case("O1", "order executed, -1007", ONE_FILL, one("lose_reply", _PLACE, how="-1007"),
         is_long=True),
    Case("O1", "order executed, silence of 12 s", ONE_FILL, one("lose_reply", _PLACE, how="hang", seconds=12),
         is_long=True),
    Case("O1", "stop and target placed, connection dropped", "asked for by their list; one pair",
         one("lose_reply", _PAIR, how="drop")),
    Case("O2", "order not executed, 503", "asked for until it can no longer come (15 s), then dropped",
         one("not_accepted", _PLACE, how="503"), refused_or_expired),
    Case("O2", "order not executed, -1001", "asked for until it can no longer come (15 s), then dropped",
         one("not_accepted", _PLACE, how="-1001"), refused_or_expired, is_long=True),
    Case("O2", "order not executed, connection dropped", "asked for until it can no longer come (15 s), then dropped",
         one("not_accepted", _PLACE, how="drop"), refused_or_expired, is_long=True),
    Case("O3", "order not to be found at first", "asked again; not sent again",
         unfound),
    Case("O4", "cancel executed, connection dropped", "known to be cancelled", one("lose_reply", _CANCEL, how="drop")),
    Case("O5", "orders filled by half", "position is the sum of fills; the rest is sold again",
         one("partial_fill", share="0.5", bars=3)),
    Case("O5", "filled while it is cancelled", "position is the sum of fills", one("fill_during_cancel", _CANCEL)),
    Case("O6", "order refused for its balance (-2010)", "dropped; tried by the next signal",
         one("reject", _PLACE, code=-2010), lambda story: few_orders(story) + refused_or_expired(story)),
    Case("O6", "stop and target refused", "the stop alone is placed",
         one("reject", _PAIR, code=-2010), lambda story: few_orders(story) + refused_or_expired(story)),
    Case("O6", "too many orders (-1015)", "not executed; tried later", one("reject", _PLACE, code=-1015), few_orders),
    Case("O6", "lot size changes", "rules asked for anew; goes on by them",
         sequence(other_lots, traded(4)), lambda story: few_orders(story) + traded_since_change(story)),
    Case("O6", "symbol halted for 5 s", "nothing is accepted; goes on when it trades again",
         ended_by(one("symbol_status", symbol=SYMBOL, status="HALT"), trades_again, 5), few_orders, "end"),
    Case("R1", "429, ban of 3 s", "no request during the ban", one("rate_limit", lasts=3, seconds=3),
         nothing_during(3), "end"),
    Case("R1", "page of a firewall (403)", "no request for 300 s", one("waf", lasts=300), nothing_during(300), "end",
         is_long=True),
    Case("R1", "page of a firewall (403), restart after 8 s", "no request until the restart", barred_then_killed,
         nothing_during(8), "end"),
    Case("R1", "page of maintenance instead of a reply", "asked for until it can no longer come (15 s), then dropped",
         one("maintenance", _PLACE), refused_or_expired),
    Case("R1", "page of maintenance instead of bars", "asked again after 30 s", one("maintenance", "klines"),
         is_long=True),
    Case("R2", "order delayed by 6 s", "refused by its window; dropped", one("latency", _PLACE, ms=6000),
         refused_or_expired),
    Case("R2", "everything delayed by up to a second", "goes on, late bars enter nothing",
         one("latency", "*", count=20, ms=100, jitter_ms=900)),
    Case("C1", "clock 5 s ahead, and back", "measured anew; no storm of -1021",
         sequence(one("clock", skew_ms=5000), traded(2), armed("clock", skew_ms=0)), no_storm),
    Case("C1", "clock 5 s behind, and back", "measured anew; no storm of -1021",
         sequence(one("clock", skew_ms=-5000), traded(2), armed("clock", skew_ms=0)), no_storm),
    Case("X1", "kill -9, started at once", "all asked for; nothing sent twice", killed, took_stock),
    Case("X2", "exchange restarts", "connections opened anew; all asked for",
         sequence(one("restart", lasts=1, seconds=1), stock_taken), counted="end"),
    Case("X3", "exchange restarts, kill -9 at the same time", "all asked for; nothing sent twice", killed_in_outage,
         took_stock),
    Case("X4", "somebody else's limit order", "symbol halted until `pipeline resume --symbol`",
         foreign("BUY", True), counted="end"),
    Case("X4", "somebody else buys at market", "symbol halted until `pipeline resume --symbol`",
         foreign("BUY", False), counted="end"),
    Case("X4", "somebody else cancels our stop", "stop put back; symbol halted until `pipeline resume --symbol`",
         stop_cancelled, counted="end"),
    Case("X4", "somebody else withdraws what we hold", "symbol halted until `pipeline resume --symbol`",
         withdrawal, counted="end"),
)  # fmt: skip
