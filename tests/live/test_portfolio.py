"""The portfolio after a crash is the portfolio before it, at every record."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live.bench import CONFIG, ONE, TWO, Bench, config, recovered

from pipeline.exchange.port import ListRequest
from pipeline.live.effects import Cancel, CancelList, Send, SendList
from pipeline.live.portfolio import _LEGS, Portfolio
from pipeline.live.shadow import shadow_rules
from pipeline.trading.market import BUY, SELL
from pipeline.trading.orders import Fill
from pipeline.trading.records import LONG_AGO

# Of a flat symbol the last price means nothing, and the day's anchor is set anew at the next bar.
_FREE = ("mark", "volatility")


def state(portfolio: Portfolio) -> tuple[bytes, bytes, bytes, object]:
    positions, account = portfolio.positions.copy(), portfolio.account.copy()
    flat = (positions["side"] == 0) & (positions["enter"] == 0)
    for name in _FREE:
        positions[name][flat] = 0
    if flat.all():
        account["next_day_bar"] = 0
    rest = (portfolio.bars, portfolio.last_open_ms, portfolio.paused, portfolio.unwanted, list(portfolio.closed))
    return positions.tobytes(), account.tobytes(), portfolio.refused.tobytes(), rest


class Watched(Bench):
    """Compares with what a restart would make of the journal, after each record."""

    def write(self, kind, body):
        super().write(kind, body)
        assert state(self.portfolio) == state(recovered(self.config, self.journal)), kind


def play(bench: Bench, steps) -> None:
    """Bars, fills whole or in part, refusals, cancels and commands, as drawn."""
    resting = {}
    price = 10.0
    for what, part, up in steps:
        for effect in bench.take():
            if isinstance(effect, Send | SendList):
                request = effect.request
                for one in request.requests if isinstance(request, ListRequest) else [request]:
                    bench.accepted(one)
                    resting[one.client_order_id] = one
            elif isinstance(effect, Cancel | CancelList):
                for name in [one for one in resting if bench.desk.books.entries[one].cancelled]:
                    done = bench.desk.books.entries[name].order.filled
                    bench.reports(resting.pop(name), "CANCELED", (), done)
        price *= 1.02 if up else 0.98
        if what < 3:
            bench.bar({ONE: (BUY, SELL, 0)[what], TWO: (0, BUY, SELL)[what]}, price)
        elif what < 6 and resting:
            name = list(resting)[part % len(resting)]
            order = bench.desk.books.entries[name].order
            whole = part % 3 or order.remaining < Decimal("0.02")
            qty = order.remaining if whole else (order.remaining / 2).quantize(Decimal("0.01"))
            fee = ("0", "USDT") if up else ("0.001", resting[name].symbol[:3])
            fill = Fill(len(bench.journal), qty, Decimal(str(round(price, 2))), Decimal(fee[0]), fee[1])
            executed = order.filled + qty
            status = "FILLED" if executed == order.qty else "PARTIALLY_FILLED"
            request = resting.pop(name) if status == "FILLED" else resting[name]
            bench.reports(request, status, (fill,), executed)
        elif what == 6:
            name = ("pause", "resume", "flatten")[part % 3]
            bench.write("COMMAND", {"name": name, "args": {"symbols": [ONE] if up else []}, "at": 0})
            bench.react()
        elif what == 7:
            bench.write("BREAKER" if up else "RESET", {"breaker": "kill_switch", "code": 9, "reason": "", "at": 0})
            bench.react()


STEPS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 11), st.booleans()), max_size=25)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.sampled_from([None, -0.01]), st.booleans())
def test_a_restart_changes_nothing_whatever_has_happened(steps, adjust, trails):
    exits = CONFIG["simulate"]["exits"] | ({"trailing_stop": 0.03} if trails else {})
    serve = CONFIG["serve"] | {"limit_price_adjustment": adjust}
    play(Watched(config(serve=serve, simulate={"exits": exits, "random_entries": 0})), steps)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_the_portfolio_holds_what_the_books_hold_but_for_what_cannot_be_sold(steps):
    bench = Bench()
    play(bench, steps)
    for symbol in (ONE, TWO):
        held = bench.desk.books.held(symbol)
        if bench.portfolio.position(symbol)["side"]:
            assert abs(float(held) - float(bench.portfolio.position(symbol)["qty"])) < 1.0
        else:
            assert float(held) * 20 < 20


def test_a_symbol_that_was_never_traded_may_enter_on_its_first_bar_after_a_restart():
    bench = Bench()
    bench.filled(bench.buys())
    bench.bar({})
    again = recovered(bench.config, bench.journal)
    assert again.position(TWO)["exit_bar"] == LONG_AGO


def test_records_of_a_symbol_that_is_not_traded_any_more_stop_no_start():
    bench = Bench()
    for kind in ("LAPSE", "QUIT", "DUST"):
        bench.journal.append((kind, {"symbol": "XYZUSDT", "reason": 1}))
    bench.journal.append(("COMMAND", {"name": "flatten", "args": {"symbols": ["XYZUSDT"]}, "at": 0}))
    assert recovered(bench.config, bench.journal).paused


def test_a_stop_that_rests_for_thousands_of_orders_of_others_is_still_known():
    bench = Bench()
    bench.filled(bench.buys())
    (pair,) = [one.request for one in bench.take()]
    for leg in pair.legs:
        bench.accepted(leg)
    for number in range(3 * _LEGS):
        name = f"x{number}"
        intent = {"id": name, "symbol": TWO, "leg": "entry", "side": "BUY", "qty": "1", "bar": 0}
        bench.write("INTENT", intent)
        bench.write("OUTCOME", {"id": name, "event": "cancel"})
    assert len(bench.portfolio.legs) < 2 * _LEGS + 10
    stop = next(leg for leg in pair.legs if leg.stop_price is not None)
    bench.filled(stop, price="9.8")
    assert not bench.portfolio.position(ONE)["side"]
    (trade,) = [body for kind, body in bench.journal if kind == "TRADE"]
    assert trade["exit_reason"] == "stop_loss"


def test_a_breaker_of_the_core_survives_a_restart():
    bench = Bench()
    bench.filled(bench.buys())
    bench.bar({}, 1.0)
    assert bench.portfolio.account["halted"][0]
    assert recovered(bench.config, bench.journal).account["halted"][0]


@pytest.mark.parametrize(
    ("asset", "fee", "cash"), [("USDT", "1", 899.0), ("AAA", "0.1", 900.0), ("BNB", "0.01", 899.9)]
)
def test_a_fee_is_paid_once_in_whatever_asset(asset, fee, cash):
    portfolio = Portfolio([ONE], shadow_rules(config(), 0)._replace(taker_fee=0.001), 1000.0)
    start = {"mode": "live", "bundle": "b", "capital": 1000.0, "fresh": True, "interval": "1m", "origin": 0}
    portfolio.add("START", start)
    portfolio.add("INTENT", {"id": "i", "symbol": ONE, "leg": "entry", "side": "BUY", "qty": "10", "bar": 0})
    portfolio.add("FILL", {"id": "i", "qty": "10", "price": "10", "fee": fee, "fee_asset": asset})
    assert float(portfolio.account["cash"][0]) == pytest.approx(cash)
    assert float(portfolio.position(ONE)["qty"]) == pytest.approx(9.9 if asset == "AAA" else 10)
    assert np.isfinite(portfolio.position(ONE)["entry_price"])


def test_the_reason_of_a_pause_is_kept_until_it_ends():
    bench = Bench()
    bench.write("COMMAND", {"name": "pause", "args": {"reason": "maintenance"}})
    again = recovered(bench.config, bench.journal)
    assert again.paused and again.paused_for == "maintenance"
    again.add("COMMAND", {"name": "resume-symbols", "args": {"symbols": [ONE]}})
    assert again.paused and again.paused_for == "maintenance"
    again.add("COMMAND", {"name": "resume", "args": {}})
    assert not again.paused and again.paused_for == ""


def test_a_flat_account_in_silence_writes_no_state_again_and_again():
    bench = Bench()
    for _ in range(5):
        bench.bar({})
    assert ["state" in body for kind, body in bench.journal if kind == "BAR"] == [True, *[False] * 4]


def test_portfolios_of_shadow_and_live_do_not_mix():
    bench = Bench()
    bench.filled(bench.buys())
    live = bench.portfolio.positions.tobytes()
    start = {"bundle": "b", "interval": "1m", "origin": 0, "capital": 5.0}
    bench.write("START", start | {"mode": "shadow", "fresh": True})
    assert float(bench.portfolio.account["cash"][0]) == 5.0 and not bench.portfolio.position(ONE)["side"]
    bench.write("START", start | {"mode": "live", "fresh": False})
    assert bench.portfolio.positions.tobytes() == live
    assert state(bench.portfolio) == state(recovered(bench.config, bench.journal))
