"""The local exchange on loopback: orders, events, steps, memory. Client and server are processes of their own."""

import asyncio
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

import aiohttp
import psutil
from binance import AsyncClient
from measure import real_data, record, report

from pipeline.exchange.local.scenario import DEMO_KEY, DEMO_SECRET

ORDERS, EVENTS, STEPS = 2000, 200_000, 5000
YEAR = ("2018-01-01", "2019-01-01")
# No limits in the way of a measurement.
SCENARIO = """
limits: {weight_per_minute: 1000000000, orders_per_10s: 1000000000, orders_per_day: 1000000000}
accounts: [{balances: {USDT: 100000000}}]
"""


class Exchange:
    """A server in a process of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        scenario = folder / "scenario.yaml"
        scenario.write_text(SCENARIO)
        command = [sys.executable, "-m", "pipeline.cli", "exchange", "--port", "0", "--json", "--scenario", scenario]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.told = json.loads(self.process.stdout.readline())
        self.url = self.told["url"]

    def __enter__(self) -> "Exchange":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)

    def peak_mb(self) -> float:
        """Largest resident memory so far, MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6

    async def client(self) -> AsyncClient:
        """python-binance, pointed here."""
        names = {"API_URL": f"{self.url}/api", "MARGIN_API_URL": f"{self.url}/sapi"}
        return await type("LocalClient", (AsyncClient,), names).create(DEMO_KEY, DEMO_SECRET)


async def orders(exchange: Exchange) -> tuple[float, float, float]:
    """Milliseconds of a signed order: p50 and p99 of aiohttp with a signature of its own, p50 by python-binance."""
    import hashlib
    import hmac

    client = await exchange.client()
    price = Decimal((await client.get_symbol_ticker(symbol="BTCUSDT"))["price"]) // 2
    body = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
    body |= {"price": format(price, "f")}
    by_client = []
    for _ in range(ORDERS // 4):
        start = time.perf_counter()
        placed = await client.create_order(**body)
        by_client.append(time.perf_counter() - start)
        await client.cancel_order(symbol="BTCUSDT", orderId=placed["orderId"])
    await client.close_connection()
    taken = []
    async with aiohttp.ClientSession(headers={"X-MBX-APIKEY": DEMO_KEY}) as session:
        for _ in range(ORDERS):
            text = "&".join(f"{k}={v}" for k, v in (body | {"timestamp": int(time.time() * 1000)}).items())
            signature = hmac.new(DEMO_SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
            start = time.perf_counter()
            async with session.post(f"{exchange.url}/api/v3/order", data=f"{text}&signature={signature}") as reply:
                placed = await reply.read()
            taken.append(time.perf_counter() - start)
            assert b"orderId" in placed, placed
            text = f"symbol=BTCUSDT&orderId={json.loads(placed)['orderId']}&timestamp={int(time.time() * 1000)}"
            signature = hmac.new(DEMO_SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
            await (await session.delete(f"{exchange.url}/api/v3/order?{text}&signature={signature}")).read()
    ordered = sorted(taken)
    return (
        statistics.median(taken) * 1e3,
        ordered[int(len(ordered) * 0.99)] * 1e3,
        statistics.median(by_client) * 1e3,
    )


async def events(exchange: Exchange) -> float:
    """Kline events a second that one client receives and parses while the market goes on."""
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(f"{exchange.url}/ws/btcusdt@kline_1m", max_msg_size=0)
        count = 0
        step = asyncio.create_task(_post(session, exchange, EVENTS // 5))
        first = await socket.receive()
        start = time.perf_counter()
        while count < EVENTS - 10:
            message = await socket.receive()
            json.loads(message.data)
            count += 1
        taken = time.perf_counter() - start
        assert first.data
        await step
        await socket.close()
    return count / taken


async def _post(session: aiohttp.ClientSession, exchange: Exchange, bars: int) -> None:
    async with session.post(f"{exchange.url}/_emu/step", json={"bars": bars}, timeout=aiohttp.ClientTimeout(600)) as r:
        await r.read()


async def steps(exchange: Exchange) -> float:
    """Bars a second, one request each, with a client that reads klines and trades every tenth bar."""
    client = await exchange.client()
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(f"{exchange.url}/ws/btcusdt@kline_1m")
        closed = 0

        async def listen() -> None:
            nonlocal closed
            async for message in socket:
                closed += '"x":true' in message.data

        listener = asyncio.create_task(listen())
        start = time.perf_counter()
        for number in range(STEPS):
            async with session.post(f"{exchange.url}/_emu/step", json={"bars": 1}) as reply:
                await reply.read()
            if number % 10 == 0:
                side = "BUY" if number % 20 else "SELL"
                await client.create_order(
                    symbol="BTCUSDT", side="BUY" if number == 0 else side, type="MARKET", quantity="0.01"
                )
        taken = time.perf_counter() - start
        await asyncio.sleep(0.2)
        assert closed == STEPS, f"{closed} of {STEPS} bars were told as closed"
        listener.cancel()
        await socket.close()
    await client.close_connection()
    return STEPS / taken


def ten_symbols(folder: Path) -> tuple[float, float]:
    """Peak memory (MB) and bars a second of ten symbols' year of minutes, replayed whole."""
    source = (real_data() / "bitfinex/BTCUSD_1m_2018.parquet").resolve()
    symbols = [f"{name}USD" for name in ("BTC", "ETH", "LTC", "XRP", "BCH", "EOS", "ADA", "XLM", "TRX", "NEO")]
    for symbol in symbols:
        (folder / f"{symbol}_1m.parquet").symlink_to(source)
    options = [word for symbol in symbols for word in ("--symbol", symbol)]
    with Exchange(folder, "--data", str(folder), "--start", YEAR[0], "--speed", "step", *options) as exchange:

        async def go() -> float:
            async with aiohttp.ClientSession() as session:
                start = time.perf_counter()
                await _post(session, exchange, 525_000)
                return 525_000 / (time.perf_counter() - start)

        speed = asyncio.run(go())
        return exchange.peak_mb(), speed


def main() -> None:
    data = str(real_data() / "bitfinex/BTCUSD_1m_2018.parquet")
    folder = Path(tempfile.mkdtemp(prefix="exchange-"))
    (folder / "BTCUSDT_1m.parquet").symlink_to(data)
    replay = ("--data", str(folder), "--start", "2018-02-01", "--speed", "step")
    print(f"{multiprocessing.cpu_count()} cores, load {psutil.getloadavg()[0]:.1f}")
    with Exchange(folder, *replay) as exchange:
        p50, p99, by_client = asyncio.run(orders(exchange))
    report("signed order, p50", p50, 0.5, 1, unit="ms", of="goal")
    report("signed order through python-binance, p50", by_client, 0.5, 10, unit="ms", of="the goal for the order")
    record("exchange", {"name": "signed order, p99", "ours": p99, "unit": "ms"})
    print(f"{'signed order, p99':<44} ours {p99:.3g} ms")
    with Exchange(folder, *replay) as exchange:
        speed = asyncio.run(events(exchange))
    report("kline events to one client", speed, 20_000, 1, True, unit="/s", of="goal")
    with Exchange(folder, *replay) as exchange:
        bars = asyncio.run(steps(exchange))
    report("steps with a trading client", bars, 2000, 1, True, unit="bars/s", of="goal")
    several = folder / "several"
    several.mkdir()
    peak, speed = ten_symbols(several)
    report("peak memory, ten symbols' year of minutes", peak, 1000, 1, unit="MB", of="goal")
    print(f"{'the same replayed':<44} ours {speed:,.0f} bars/s of ten symbols each")


if __name__ == "__main__":
    main()
