"""The local exchange on loopback: orders, events, steps, memory. Client and server are processes of their own."""

import asyncio
import base64
import hashlib
import hmac
import json
import multiprocessing
import os
import re
import socket
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

    def processor_us(self) -> float:
        """Processor time that it has used so far, µs: says what the code costs where others use the machine too."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system) * 1e6

    async def client(self) -> AsyncClient:
        """python-binance, pointed here."""
        names = {"API_URL": f"{self.url}/api", "MARGIN_API_URL": f"{self.url}/sapi"}
        return await type("LocalClient", (AsyncClient,), names).create(DEMO_KEY, DEMO_SECRET)


FORM = "application/x-www-form-urlencoded"


def ask(connection: socket.socket, method: str, target: str, body: bytes = b"", kind: str = FORM) -> bytes:
    """One request over a kept connection, without a client library's own time."""
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nX-MBX-APIKEY: {DEMO_KEY}\r\n"
    head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    reply = b""
    while b"\r\n\r\n" not in reply:
        reply += connection.recv(1 << 16)
    head_bytes, _, rest = reply.partition(b"\r\n\r\n")
    length = int(re.search(rb"Content-Length: (\d+)", head_bytes)[1])  # type: ignore[index]
    while len(rest) < length:
        rest += connection.recv(1 << 16)
    return rest


def signed(params: dict[str, object]) -> str:
    """Parameters with the time and their signature."""
    text = "&".join(f"{k}={v}" for k, v in (params | {"timestamp": int(time.time() * 1000)}).items())
    return f"{text}&signature={hmac.new(DEMO_SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()}"


def orders(exchange: Exchange) -> tuple[list[float], list[float]]:
    """Seconds of each signed order, and of as many pings, over one connection."""
    host, port = exchange.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    price = Decimal(json.loads(ask(connection, "GET", "/api/v3/ticker/price?symbol=BTCUSDT"))["price"]) // 2
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
    order |= {"price": format(price, "f")}
    taken, pings = [], []
    for _ in range(ORDERS):
        body = signed(order).encode()
        start = time.perf_counter()
        reply = ask(connection, "POST", "/api/v3/order", body)
        taken.append(time.perf_counter() - start)
        number = json.loads(reply)["orderId"]
        ask(connection, "DELETE", f"/api/v3/order?{signed({'symbol': 'BTCUSDT', 'orderId': number})}")
        start = time.perf_counter()
        ask(connection, "GET", "/api/v3/ping")
        pings.append(time.perf_counter() - start)
    connection.close()
    return taken, pings


async def client_orders(exchange: Exchange) -> float:
    """Seconds of an order by python-binance, p50."""
    client = await exchange.client()
    price = Decimal((await client.get_symbol_ticker(symbol="BTCUSDT"))["price"]) // 2
    taken = []
    for _ in range(ORDERS // 4):
        start = time.perf_counter()
        placed = await client.create_order(
            symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.01", price=format(price, "f")
        )
        taken.append(time.perf_counter() - start)
        await client.cancel_order(symbol="BTCUSDT", orderId=placed["orderId"])
    await client.close_connection()
    return statistics.median(taken)


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


def steps(exchange: Exchange) -> list[float]:
    """Seconds of each bar, one request each, of a client that reads its messages and trades every tenth bar."""
    host, port = exchange.url.removeprefix("http://").split(":")
    control, stream = (socket.create_connection((host, int(port))) for _ in range(2))
    control.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    key = base64.b64encode(os.urandom(16)).decode()
    stream.sendall(
        f"GET /ws/btcusdt@kline_1m HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    while b"\r\n\r\n" not in stream.recv(1 << 12):
        pass
    closed, held, taken = 0, b"", []
    for number in range(STEPS):
        start = time.perf_counter()
        ask(control, "POST", "/_emu/step", b'{"bars":1}', "application/json")
        while closed <= number:
            held = held[-16:] + stream.recv(1 << 16)
            closed += held.count(b'"x":true')
            held = held.replace(b'"x":true', b"")
        if number % 10 == 0:
            # The fee is taken from what was bought, so a little less of it is sold.
            side, qty = ("BUY", "0.01") if number % 20 == 0 else ("SELL", "0.009")
            order = {"symbol": "BTCUSDT", "side": side, "type": "MARKET", "quantity": qty}
            assert b"orderId" in ask(control, "POST", "/api/v3/order", signed(order).encode())
        taken.append(time.perf_counter() - start)
    control.close()
    stream.close()
    return taken


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
        before = exchange.processor_us()
        taken, pings = orders(exchange)
        work = (exchange.processor_us() - before) / ORDERS
        by_client = asyncio.run(client_orders(exchange))
    p50, p99 = statistics.median(taken) * 1e3, sorted(taken)[int(len(taken) * 0.99)] * 1e3
    report("signed order, p50", p50, 0.5, 1, unit="ms", of="goal")
    ping = statistics.median(pings) * 1e3
    p10 = sorted(taken)[ORDERS // 10] * 1e3
    print(
        f"{'':<44} p10 {p10:.3g} ms; p99 {p99:.3g} ms; a ping {ping:.3g} ms; by python-binance {by_client * 1e3:.3g} ms"
    )
    print(f"{'':<44} processor time of the server for an order, its cancel and a ping {work:.0f} µs")
    record("exchange", {"name": "order, cancel and ping, processor time", "ours": work, "unit": "µs"})
    record("exchange", {"name": "signed order, p99", "ours": p99, "unit": "ms"})
    record("exchange", {"name": "ping, p50", "ours": statistics.median(pings) * 1e3, "unit": "ms"})
    record("exchange", {"name": "signed order by python-binance, p50", "ours": by_client * 1e3, "unit": "ms"})
    with Exchange(folder, *replay) as exchange:
        speed = asyncio.run(events(exchange))
    report("kline events to one client", speed, 20_000, 1, True, unit="/s", of="goal")
    with Exchange(folder, *replay) as exchange:
        before = exchange.processor_us()
        taken = steps(exchange)
        work = (exchange.processor_us() - before) / STEPS
    report("steps with a trading client", STEPS / sum(taken), 2000, 1, True, unit="bars/s", of="goal")
    middle, quick = statistics.median(taken) * 1e6, sorted(taken)[STEPS // 10] * 1e6
    print(f"{'':<44} a step p50 {middle:.0f} µs, p10 {quick:.0f} µs; processor time of the server for it {work:.0f} µs")
    record("exchange", {"name": "step with a trading client, processor time", "ours": work, "unit": "µs"})
    several = folder / "several"
    several.mkdir()
    peak, speed = ten_symbols(several)
    report("peak memory, ten symbols' year of minutes", peak, 1000, 1, unit="MB", of="goal")
    print(f"{'the same replayed':<44} ours {speed:,.0f} bars/s of ten symbols each")


if __name__ == "__main__":
    main()
