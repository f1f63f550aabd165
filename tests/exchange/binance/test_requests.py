"""Orders and questions through the faults of requests: what was executed is never taken for refused, nor sent twice."""

import asyncio
import io
import logging
import traceback
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from exchange.binance.adapters import Adapter, QuickClock, adapter, charges_seen, requests_seen, run
from exchange.servers import START, exchange, forgive, inside

from pipeline.exchange.binance.addresses import Keys
from pipeline.exchange.binance.budget import Budget
from pipeline.exchange.binance.client import Timeouts
from pipeline.exchange.binance.timing import ServerTime
from pipeline.exchange.port import AccountLimits, Barred, Refused, Request, Unavailable, Unclear, WrongKey
from pipeline.testing import LocalExchange

SHORT = Timeouts(0.5, 0.4, 0.8)


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalExchange]:
    with exchange(bars=2000) as running:
        yield running


@pytest.fixture
def local(shared: LocalExchange) -> Iterator[LocalExchange]:
    """The same exchange for all, without what the last test left."""
    forgive(shared)
    yield shared

    def calm(server: Any) -> None:
        for one in server.venue.faults.view():
            server.venue.faults.remove(one["id"])
        server.venue.clock.set(0, 0.0)

    inside(shared, calm)


def buy(name: str, qty: str = "0.01", **more: Any) -> Request:
    return Request("BTCUSDT", "BUY", "MARKET", Decimal(qty), name, **more)


def rest(name: str, price: str = "20000") -> Request:
    return Request("BTCUSDT", "BUY", "LIMIT", Decimal("0.01"), name, price=Decimal(price))


async def filled(made: Adapter, name: str) -> Decimal:
    """Quantity that an order has bought."""
    return sum((fill.qty for order, fill in await made.exchange.fills("BTCUSDT", -1) if order == name), Decimal(0))


# Orders


@pytest.mark.parametrize(
    ("how", "name"), [("504", "o1a"), ("-1007", "o1b"), ("drop", "o1c"), ("hang", "o1d"), ("mute", "o1e")]
)
def test_a_lost_reply_is_unclear_and_the_order_is_there_once(local: LocalExchange, how: str, name: str) -> None:
    async def talk() -> None:
        async with adapter(local, timeouts=SHORT) as made:
            await made.fault("lose_reply", where="order.place", how=how, seconds=1)
            seen = requests_seen(local)
            with pytest.raises(Unclear):
                await made.exchange.place(buy(name), 5000)
            assert seen == ["order.place"]
            found = await made.exchange.find("BTCUSDT", name)
            assert found is not None
            assert (found.status, found.executed) == ("FILLED", Decimal("0.01"))
            assert await filled(made, name) == Decimal("0.01")

    run(talk())


@pytest.mark.parametrize(("how", "name"), [("503", "o2a"), ("-1001", "o2b"), ("drop", "o2c"), ("hang", "o2d")])
def test_an_order_that_may_not_have_been_accepted_is_unclear_too(local: LocalExchange, how: str, name: str) -> None:
    async def talk() -> None:
        async with adapter(local, timeouts=SHORT) as made:
            await made.fault("not_accepted", where="order.place", how=how, seconds=1)
            with pytest.raises(Unclear):
                await made.exchange.place(buy(name), 5000)
            assert await made.exchange.find("BTCUSDT", name) is None

    run(talk())


def test_an_order_that_is_not_found_yet_is_none(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            await made.exchange.place(buy("o3"), 5000)
            await made.fault("not_found", count=2)
            found = [await made.exchange.find("BTCUSDT", "o3") for _ in range(3)]
            assert [one and one.status for one in found] == [None, None, "FILLED"]

    run(talk())


def test_a_cancel_that_was_sent_twice_is_a_cancel(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            await made.exchange.place(rest("o4"), 5000)
            await made.fault("lose_reply", where="order.cancel", how="drop")
            seen = requests_seen(local)
            report = await made.exchange.cancel("BTCUSDT", "o4")
            assert (report.client_order_id, report.status) == ("o4", "CANCELED")
            # The library sent it again, and the second one found nothing; so the order was asked for.
            assert seen == ["order.cancel", "order.cancel", "order.status"]

    run(talk())


def test_a_cancel_whose_reply_is_lost_for_good_is_unclear(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local, timeouts=SHORT) as made:
            await made.exchange.place(rest("o4b"), 5000)
            await made.fault("lose_reply", where="order.cancel", how="-1007")
            with pytest.raises(Unclear):
                await made.exchange.cancel("BTCUSDT", "o4b")
            found = await made.exchange.find("BTCUSDT", "o4b")
            assert found is not None
            assert found.status == "CANCELED"

    run(talk())


def test_an_order_that_is_filled_before_its_cancel_is_not_cancelled(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            await made.exchange.place(rest("o5"), 5000)
            await made.fault("fill_during_cancel")
            with pytest.raises(Refused) as refused:
                await made.exchange.cancel("BTCUSDT", "o5")
            assert refused.value.code == -2011
            assert await filled(made, "o5") == Decimal("0.01")

    run(talk())


def test_an_unknown_order_cannot_be_cancelled(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            with pytest.raises(Refused):
                await made.exchange.cancel("BTCUSDT", "never-sent")

    run(talk())


def test_a_market_order_that_runs_dry_tells_what_it_bought(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            await made.fault("partial_fill", share="0.5")
            report = await made.exchange.place(buy("o5b", "0.1"), 5000)
            assert report.status == "EXPIRED"
            assert report.executed == sum(fill.qty for fill in report.fills) == Decimal("0.05")
            await made.step()

    run(talk())


@pytest.mark.parametrize(
    ("code", "message", "error"),
    [
        (-2010, "Account has insufficient balance for requested action.", Refused),
        (-1013, "Filter failure: LOT_SIZE", Refused),
        (-2010, "Duplicate order sent.", Refused),
        (-1015, "Too many new orders.", Unavailable),
        (-1008, "Server is currently overloaded.", Unavailable),
        (-1016, "This service is no longer available.", Unavailable),
        (-2015, "Invalid API-key, IP, or permissions for action.", WrongKey),
        (-1022, "Signature for this request is not valid.", WrongKey),
        (-1006, "An unexpected response was received.", Unclear),
    ],
)
def test_a_refused_order_is_sent_once(local: LocalExchange, code: int, message: str, error: type[Exception]) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            await made.fault("reject", where="order.place", code=code, message=message)
            seen = requests_seen(local)
            with pytest.raises(error) as raised:
                await made.exchange.place(buy("o6"), 5000)
            assert type(raised.value) is error
            assert message in str(raised.value)
            assert seen == ["order.place"]

    run(talk())


def test_a_halted_symbol_refuses_and_a_changed_filter_is_read_anew(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            await made.fault("symbol_status", status="HALT")
            with pytest.raises(Refused) as refused:
                await made.exchange.place(buy("o6h"), 5000)
            assert refused.value.message == "Market is closed."
            await made.fault("symbol_status", status="TRADING")
            assert (await made.exchange.filters("BTCUSDT")).lots.step == Decimal("0.00001")
            await made.fault("filter_change", filter="LOT_SIZE", values={"stepSize": "0.001"})
            assert (await made.exchange.filters("BTCUSDT")).lots.step == Decimal("0.001")
            await made.fault("filter_change", filter="LOT_SIZE", values={"stepSize": "0.00001"})
            with pytest.raises(Refused):
                await made.exchange.filters("NOSUCH")

    run(talk())


@pytest.mark.parametrize(
    ("name", "values", "lifted"),
    [
        ("EXCHANGE_MAX_NUM_ORDERS", {"maxNumOrders": 1}, {"maxNumOrders": 0}),
        ("EXCHANGE_MAX_NUM_ALGO_ORDERS", {"maxNumAlgoOrders": 1}, {"maxNumAlgoOrders": 0}),
        ("MAX_ASSET", {"asset": "BTC", "limit": "0.0015"}, {"asset": "BTC", "limit": "0"}),
    ],
)
def test_a_limit_of_the_exchange_refuses_for_good(
    local: LocalExchange, name: str, values: dict[str, Any], lifted: dict[str, Any]
) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            await made.fault("filter_change", filter=name, values=values)
            high = Decimal(90_000)
            first, second = (
                Request("BTCUSDT", "BUY", "STOP_LOSS_LIMIT", Decimal(qty), f"{name}-{qty[-1]}", high, high)
                for qty in ("0.001", "0.002")
            )
            await made.exchange.place(first, 5000)
            seen = requests_seen(local)
            with pytest.raises(Refused) as refused:
                await made.exchange.place(second, 5000)
            assert (refused.value.code, refused.value.message) == (-1013, f"Filter failure: {name}")
            assert seen == ["order.place"]
            with pytest.raises(Refused):
                await made.exchange.test(second)
            await made.fault("filter_change", filter=name, values=lifted)
            await made.exchange.cancel("BTCUSDT", first.client_order_id)

    run(talk())


def test_the_limits_of_the_account_are_told(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            assert await made.exchange.limits("BTCUSDT") == AccountLimits()
            limits = {"EXCHANGE_MAX_NUM_ORDERS": ("maxNumOrders", 7), "EXCHANGE_MAX_NUM_ALGO_ORDERS":
                      ("maxNumAlgoOrders", 5), "EXCHANGE_MAX_NUM_ORDER_LISTS": ("maxNumOrderLists", 3)}  # fmt: skip
            for kind, (key, most) in limits.items():
                await made.fault("filter_change", filter=kind, values={key: most})
            await made.fault("filter_change", filter="MAX_ASSET", values={"asset": "USDT", "limit": "70000"})
            told = await made.exchange.limits("BTCUSDT")
            assert told == AccountLimits(7, 5, 3, {"USDT": Decimal(70_000)})
            for kind, (key, _) in limits.items():
                await made.fault("filter_change", filter=kind, values={key: 0})
            await made.fault("filter_change", filter="MAX_ASSET", values={"asset": "USDT", "limit": "0"})

    run(talk())


def test_amounts_are_sent_as_plain_decimals(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            price = Decimal("2E+4")
            order = Request("BTCUSDT", "BUY", "LIMIT", Decimal("1E-3"), "plain", price=price)
            assert (await made.exchange.place(order, 5000)).status == "NEW"
            stop = Request(
                "BTCUSDT", "BUY", "STOP_LOSS_LIMIT", Decimal("0.001"), "stop", Decimal("90000"), Decimal("9E+4")
            )
            assert (await made.exchange.place(stop, 5000)).status == "NEW"
            assert {one.client_order_id for one in await made.exchange.open_orders("BTCUSDT")} >= {"plain", "stop"}
            for name in ("plain", "stop"):
                await made.exchange.cancel("BTCUSDT", name)

    run(talk())


def test_fills_begin_after_a_trade_and_name_orders_of_an_earlier_run(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            await made.exchange.place(buy("f1"), 5000)
            last = max(fill.trade_id for _, fill in await made.exchange.fills("BTCUSDT", -1))
            await made.exchange.place(buy("f2"), 5000)
        async with adapter(local) as later:
            found = await later.exchange.fills("BTCUSDT", last)
            assert {name for name, _ in found} == {"f2"}
            assert all(fill.trade_id > last for _, fill in found)

    run(talk())


def test_bars_of_the_past_are_whole_and_closed(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            await made.step(600)
            now = await made.exchange.server_ms()
            found = await made.exchange.bars("BTCUSDT", "1m", START - 600 * 60_000, now + 600_000)
            opens = [bar.open_time_ms for bar in found]
            assert opens == list(range(START - 600 * 60_000, now, 60_000))
            assert len(opens) > 1000

    run(talk())


def test_the_last_price_is_what_the_exchange_says(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            await made.step(1)
            now = await made.exchange.server_ms()
            (last,) = await made.exchange.bars("BTCUSDT", "1m", now - 60_000, now)
            assert float(await made.exchange.price("BTCUSDT")) == last.values["close"]
            with pytest.raises(Refused):
                await made.exchange.price("XYZUSDT")

    run(talk())


@pytest.mark.parametrize("reply", [{}, {"serverTime": "soon"}, ["hello"]])
def test_an_address_where_something_else_answers_is_no_exchange(local: LocalExchange, reply: Any) -> None:
    async def talk() -> None:
        async with adapter(local) as made:

            async def answers() -> Any:
                return reply

            client = made.exchange._client
            client.binance.get_server_time = answers
            with pytest.raises(Unavailable, match="is this the address of an exchange"):
                await client.sync()

    run(talk())


# Limits


@pytest.mark.parametrize("kind", ["rate_limit", "waf"])
def test_nothing_is_sent_during_a_ban(local: LocalExchange, kind: str) -> None:
    async def talk() -> None:
        async with adapter(local, following=("BTCUSDT",)) as made:
            await made.fault(kind, where="account.status", **({"seconds": 2} if kind == "rate_limit" else {}))
            with pytest.raises(Barred):
                await made.exchange.balances()
            seen = charges_seen(local)
            # Nor for a bar that closes, a socket that is cut, or an order.
            await made.step()
            await made.fault("wsapi_drop")
            for ask in (made.exchange.balances(), made.exchange.place(buy("r1"), 5000), made.exchange.server_ms()):
                with pytest.raises(Barred) as barred:
                    await ask
                assert barred.value.after_s > 0
            # The first pause before a new subscription is a second at the most.
            await asyncio.sleep(1.2)
            assert seen == []
            if kind == "rate_limit":
                await made.until(lambda: len(made.bars) == 1 and made.interruptions == 2)
                await made.exchange.balances()

    run(talk())


def test_a_page_instead_of_an_answer_is_asked_again_but_no_order_is_sent_again(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local, speed=1000) as made:
            await made.fault("maintenance", where="account.status", count=2)
            assert await made.exchange.balances()
            assert max(made.clock.slept) >= 30
            await made.fault("maintenance", where="order.place")
            with pytest.raises(Unclear):
                await made.exchange.place(buy("page"), 5000)

    run(talk())


def test_reads_are_tried_five_times_with_growing_pauses(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local, speed=100) as made:
            await made.fault("not_accepted", where="account.status", how="503", count=4)
            assert await made.exchange.balances()
            pauses = made.clock.slept[-4:]
            assert all(0.25 * 2**n <= pause <= 0.5 * 2**n for n, pause in enumerate(pauses))
            await made.fault("not_accepted", where="account.status", how="503", count=5)
            with pytest.raises(Unavailable):
                await made.exchange.balances()

    run(talk())


def test_the_minutes_weight_is_kept_by_the_exchanges_own_limit_and_count() -> None:
    async def talk() -> None:
        with exchange(scenario={"limits": {"weight_per_minute": 300}}) as local:
            async with adapter(local, speed=1000) as made:
                await made.exchange.filters("BTCUSDT")
                seen = requests_seen(local)
                asking = asyncio.gather(*(made.exchange.balances() for _ in range(20)))
                await asyncio.sleep(0.5)
                # 5 for the time, 20 for the rules, then as many of 20 as stay below 270.
                assert len(seen) == 12
                assert made.exchange._client.budget.used <= 270
                assert not asking.done()
                asking.cancel()
                # What is kept back lets orders through.
                assert (await made.exchange.place(buy("w"), 5000)).status == "FILLED"

    run(talk())


def test_orders_that_would_exceed_the_limit_are_not_sent() -> None:
    clock = QuickClock()
    budget = Budget(clock, lambda: 90_000)
    budget.limit = 100
    budget.told(100)
    with pytest.raises(Unavailable) as unavailable:
        budget.take_now(1)
    assert not isinstance(unavailable.value, Barred)
    assert 30 <= unavailable.value.after_s <= 31


def test_weight_is_counted_anew_each_minute_and_halved_after_a_ban() -> None:
    now = 59_000
    clock = QuickClock()
    budget = Budget(clock, lambda: now)
    budget.limit = 100
    budget.told(100)
    now = 60_000
    budget.take_now(60)
    budget.done(60)
    budget.bar(0.0)
    budget.told(0)
    budget.take_now(50)
    with pytest.raises(Unavailable):
        budget.take_now(1)


# Time


@pytest.mark.parametrize("skew", [-5000, 5000, 60_000, -60_000])
def test_a_clock_that_jumps_is_measured_again_once(local: LocalExchange, skew: int) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            await made.fault("clock", skew_ms=skew)
            seen = requests_seen(local)
            # -1021 means that it was not executed, so an order too may be signed anew.
            assert (await made.exchange.place(buy(f"c{skew}".replace("-", "m")), 3000)).status == "FILLED"
            await asyncio.gather(*(made.exchange.balances() for _ in range(5)))
            assert seen.count("time") == 5
            assert seen.count("order.place") == 2
            assert abs(made.exchange.clock_moved_ms - skew) < 500
            assert made.noted("from where it was believed")

    run(talk())


def test_many_requests_with_a_wrong_time_lead_to_one_measurement(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            await made.fault("clock", skew_ms=60_000)
            seen = requests_seen(local)
            await asyncio.gather(*(made.exchange.balances() for _ in range(10)))
            assert seen.count("time") == 5
            assert seen.count("account.status") == 20
            # Nor does one that was on its way meanwhile ask for another.
            await made.fault("clock", skew_ms=0)
            await made.fault("latency", where="account.status", ms=300)
            await asyncio.gather(*(made.exchange.balances() for _ in range(2)))
            assert seen.count("time") == 10

    run(talk())


def test_a_clock_that_drifts_causes_no_storm(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            await made.fault("clock", skew_ms=0, drift_ms_per_s=1000.0)
            seen = requests_seen(local)
            for _ in range(10):
                await made.exchange.balances()
                await asyncio.sleep(0.05)
            assert len(seen) <= 10 + 6

    run(talk())


def test_the_sample_with_the_shortest_way_sets_the_clock() -> None:
    class Steps:
        """A clock that the samples move."""

        time = 100.0

        def now_ms(self) -> int:
            return int(self.time * 1000)

        def monotonic(self) -> float:
            return self.time

        async def sleep(self, seconds: float) -> None:
            self.time += seconds

    clock, trips = Steps(), iter([2.0, 0.4, 0.1, 0.8, 3.0])

    async def ask() -> int:
        trip = next(trips)
        clock.time += trip / 2
        # Ten seconds ahead; on the slow ways the reply takes longer than the request.
        server = int((clock.time + 10) * 1000)
        clock.time += trip / 2 + (1.0 if trip > 0.5 else 0.0)
        return server

    measured = ServerTime(clock, ask)
    run(measured.sync())
    assert abs(measured.now_ms() - clock.now_ms() - 10_000) <= 1


def test_the_clock_is_measured_again_every_ten_minutes(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local, speed=2000) as made:
            seen = requests_seen(local)
            await made.until(lambda: seen.count("time") >= 5)
            assert 600.0 in made.clock.slept

    run(talk())


@pytest.mark.parametrize("ms", [100, 1500])
def test_an_order_is_not_accepted_after_its_window(local: LocalExchange, ms: int) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            await made.fault("latency", where="order.place", ms=ms, count=0)
            name = f"window{ms}"
            if ms < 1000:
                assert (await made.exchange.place(buy(name), 1000)).status == "FILLED"
            else:
                with pytest.raises(Unavailable):
                    await made.exchange.place(buy(name), 1000)
                assert await made.exchange.find("BTCUSDT", name) is None

    run(talk())


# Keys


def test_a_wrong_secret_is_a_wrong_key_for_orders_reads_and_events(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local, secret="another-secret") as made:
            for ask in (made.exchange.balances(), made.exchange.place(buy("k"), 5000), made.follow()):
                with pytest.raises(WrongKey):
                    await ask

    run(talk())


def test_no_key_is_no_account_but_bars_all_the_same(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local) as made:
            made.exchange._client.binance.API_SECRET = ""
            with pytest.raises(WrongKey):
                await made.exchange.balances()
            made.exchange._keys = Keys()
            following = asyncio.ensure_future(made.follow())
            await asyncio.sleep(0.3)
            await made.step()
            await made.until(lambda: len(made.bars) == 1)
            assert made.interruptions == 0
            following.cancel()

    run(talk())


def test_keys_are_in_no_text_log_note_or_error(local: LocalExchange) -> None:
    key, secret = "canary-key-000111", "canary-secret-222333"
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    shown: list[str] = []

    async def talk() -> None:
        async with adapter(local, key=key, secret=secret, timeouts=SHORT, speed=100) as made:
            shown.extend([repr(made.exchange), str(vars(made.exchange)), repr(vars(made.exchange._client))])
            for kind, args in (
                ("none", {}),
                ("maintenance", {}),
                ("not_accepted", {"how": "503"}),
                ("not_accepted", {"how": "drop"}),
                ("reject", {"code": -1013}),
                ("waf", {}),
            ):
                if kind != "none":
                    await made.fault(kind, where="*", count=0, **args)
                for ask in (
                    made.exchange.balances(),
                    made.exchange.place(buy("x"), 5000),
                    made.exchange.cancel("BTCUSDT", "x"),
                    made.exchange.find("BTCUSDT", "x"),
                ):
                    try:
                        await ask
                    except Exception as error:
                        trace = traceback.TracebackException.from_exception(error)
                        shown.extend([repr(error), *trace.format()])
                        assert error.__context__ is None
                        assert error.__cause__ is None

                def calm(server: Any) -> None:
                    for one in server.venue.faults.view():
                        server.venue.faults.remove(one["id"])

                inside(local, calm)
            shown.extend(words for _, words in made.notes)
        async with adapter(local, key=key, secret=secret) as made:
            with pytest.raises(WrongKey) as raised:
                await made.follow()
            shown.append(repr(raised.value))

    try:
        run(talk())
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    everything = "\n".join([*shown, log.getvalue()])
    assert len(shown) > 20
    assert secret not in everything
    assert key not in everything
    assert "signature=" not in everything


def test_a_silent_exchange_is_not_waited_for_without_end(local: LocalExchange) -> None:
    async def talk() -> None:
        async with adapter(local, timeouts=SHORT) as made:
            await made.fault("not_accepted", where="order.place", how="hang", seconds=3600)
            with pytest.raises(Unclear):
                await made.exchange.place(buy("slow"), 5000)

    run(talk())
