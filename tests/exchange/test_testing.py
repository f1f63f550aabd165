"""`pipeline.testing`: a local exchange for a user's own tests, as its docstring says it is used."""

import asyncio
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path

import pytest
import requests
from exchange.servers import MINUTE, START, Rest, Socket, exchange
from pydantic import ValidationError

import pipeline.testing
from pipeline.errors import BadInput, MissingInput
from pipeline.exchange.local.faults import At
from pipeline.exchange.local.journal import read
from pipeline.testing import LocalExchange, Scenario, Setup

ROOT = Path(__file__).parents[2]


def example() -> str:
    """The code of the module's docstring, the plugin's line aside."""
    lines = (pipeline.testing.__doc__ or "").splitlines()
    code = [line[4:] for line in lines if line.startswith("    ") or not line.strip()]
    return "\n".join(code).strip() + "\n"


def test_the_example_works_in_a_suite_of_its_own(tmp_path: Path) -> None:
    plugin, _, test = example().partition("\n")
    assert plugin.startswith("pytest_plugins = ")
    (tmp_path / "conftest.py").write_text(f"{plugin}\n")
    (tmp_path / "test_bot.py").write_text(test)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_bot.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert run.returncode == 0 and "1 passed" in run.stdout, run.stdout + run.stderr


def test_it_trades_steps_and_tells_its_balance_and_its_journal() -> None:
    with exchange() as local:
        before = local.balance("USDT")
        order = local.client().create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001")
        assert before - local.balance("USDT") == Decimal(order["cummulativeQuoteQty"])
        assert local.balance("BTC") == Decimal(10) + Decimal("0.001") * Decimal("0.999")
        local.step(5)
        clock = Rest(local).send("GET", "/_emu/clock").json()
        assert clock["market"] == START + 5 * MINUTE
        assert [entry["name"] for entry in read(local.journal()) if entry["kind"] == "request"] == ["order.place"]


def test_what_a_step_says_has_been_sent_when_it_returns() -> None:
    async def hear(local: LocalExchange) -> int:
        async with Socket(local, "/ws/btcusdt@kline_1m") as socket:
            await socket.call("LIST_SUBSCRIPTIONS")
            await asyncio.to_thread(local.step, 200)
            return sum(one["k"]["x"] for one in await socket.waiting(0.05))

    with exchange() as local:
        assert asyncio.run(hear(local)) == 200


def test_the_asynchronous_client_is_pointed_here_by_its_attributes() -> None:
    from binance import AsyncClient

    async def ask(local: LocalExchange) -> int:
        client = await type("C", (AsyncClient,), local.attributes()).create(local.key, local.secret)
        try:
            return len(await client.get_klines(symbol="BTCUSDT", interval="1m", limit=7))
        finally:
            await client.session.close()

    with exchange() as local:
        assert asyncio.run(ask(local)) == 7


def test_faults_wait_and_wrong_ones_are_refused() -> None:
    with exchange() as local:
        number = local.fault("reject", where="order.place", at=At(nth_call=2), code=-1008)
        assert number == 1 == local.fault("latency", where="nothing") - 1
        assert [Rest(local).buy().status_code for _ in range(3)] == [200, 400, 200]
        with pytest.raises(ValidationError, match="not a fault"):
            local.fault("earthquake")
        with pytest.raises(ValidationError, match="seconds"):
            local.fault("outage", seconds="long")


def test_two_exchanges_do_not_know_of_each_other() -> None:
    with exchange() as one, exchange() as other:
        assert one.url != other.url
        Rest(one).buy(quantity="0.001")
        assert one.balance("BTC") > 10 == other.balance("BTC")


def test_the_same_seed_is_the_same_market_and_another_one_is_not() -> None:
    def price(seed: int) -> str:
        with exchange(seed=seed) as local:
            local.step(3)
            return str(Rest(local).ask("/api/v3/ticker/price", symbol="BTCUSDT").json()["price"])

    assert price(1) == price(1) != price(2)


def test_it_is_gone_after_its_block_with_its_thread_and_its_port() -> None:
    before = threading.active_count()
    with exchange() as local:
        url = local.url
    assert threading.active_count() == before
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/api/v3/ping", timeout=2)


def test_it_is_gone_after_a_test_that_fails_and_with_clients_that_hang_on() -> None:
    async def hang() -> None:
        async with Socket(local, "/ws/btcusdt@trade") as socket:
            await asyncio.to_thread(local.__exit__)
            assert await socket.closed() == 1006

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), exchange():
        _ = 1 / 0
    local = exchange().__enter__()
    asyncio.run(hang())
    assert threading.active_count() <= before + 1  # The one of `to_thread` may be kept.


@pytest.mark.parametrize(
    ("setup", "error", "words"),
    [
        (Setup(data=Path("/nowhere")), MissingInput, "/nowhere"),
        (Setup(("BTCXYZ",), from_ms=START, start_ms=START, end_ms=START + MINUTE), BadInput, "BTCXYZ"),
        (Setup(start_ms=START, from_ms=START, end_ms=START), BadInput, "is empty"),
    ],
)
def test_what_cannot_start_says_why(setup: Setup, error: type[Exception], words: str) -> None:
    before = threading.active_count()
    with pytest.raises(error, match=words), LocalExchange(setup):
        pass
    assert threading.active_count() <= before + 1


def test_accounts_fees_and_filling_are_set_by_a_scenario() -> None:
    free = {"balances": {"USDT": 500}, "maker": 0, "taker": 0}
    with exchange(scenario={"accounts": [free], "market": {"spread_bps": 0, "levels": 0}}) as local:
        price = Decimal(Rest(local).ask("/api/v3/ticker/price", symbol="BTCUSDT").json()["price"])
        assert Rest(local).buy(quantity="0.001").json()["fills"][0]["commission"] == "0.00000000"
        assert local.balance("BTC") == Decimal("0.001")
        assert abs(500 - local.balance("USDT") - price / 1000) <= Decimal("0.001")
    assert Scenario.model_validate({}).accounts[0].balances == {"USDT": Decimal(10_000)}
