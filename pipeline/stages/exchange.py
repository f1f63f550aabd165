"""`pipeline exchange`: a local exchange in the foreground, until it is interrupted."""

import asyncio
import contextlib
import json as json_text
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pipeline.config import interval_ms, utc_ms
from pipeline.errors import BadInput
from pipeline.exchange.local.running import Setup, is_loopback, make
from pipeline.exchange.local.scenario import Scenario, ScenarioError, load
from pipeline.exchange.local.server import Server

# The synthetic market has no end; this much of it is made, with a tenth as history before trading begins.
_SYNTHETIC_START = "2024-01-01"
_SYNTHETIC_BARS = 50_000
_EARLIEST, _LATEST = utc_ms("2000-01-01"), utc_ms("2101-01-01")


def serve_exchange(
    data: Path | None,
    symbols: Sequence[str],
    interval: str,
    start: str | None,
    end: str | None,
    speed: str,
    host: str,
    port: int,
    seed: int,
    scenario: Path | None,
    journal: Path | None,
    as_json: bool,
    market: str = "spot",
    funding: Path | None = None,
    recorded: Sequence[Path] = (),
) -> None:
    """Run an exchange. Raises BadInput, MissingInput: before anything listens."""
    try:
        step = interval_ms(interval)
    except ValueError as error:
        raise BadInput(f"--interval: {error}") from None
    setup = Setup(
        symbols=tuple(dict.fromkeys(symbols)) or ("BTCUSDT",),
        interval=interval,
        data=data,
        start_ms=_time(start, "--start") or 0,
        end_ms=_time(end, "--end") or 1 << 62,
        speed=_speed(speed),
        seed=seed,
        host=host,
        port=port,
        scenario=load(scenario) if scenario else Scenario.model_validate({}),
        journal=journal,
        market=_market(market),
        funding=funding,
        recorded=tuple(recorded),
    )
    if recorded:
        clash = [
            name
            for name, given in (("--data", data), ("--symbol", symbols), ("--start", start), ("--end", end))
            if given
        ]
        if clash or market != "spot":
            raise BadInput(
                f"--recorded brings its own market: {', '.join(clash) or '--market um'} cannot be given with it"
            )
    if funding is not None and market != "um":
        raise BadInput("--funding: only futures have funding", "add --market um")
    if setup.end_ms <= setup.start_ms:
        raise BadInput(f"--end {end} is not after --start {start}")
    if data is None and not recorded:
        begin = setup.start_ms or utc_ms(_SYNTHETIC_START)
        last = min(setup.end_ms, begin + _SYNTHETIC_BARS * step)
        setup = replace(setup, start_ms=begin, from_ms=begin - _SYNTHETIC_BARS // 10 * step, end_ms=last)
    try:
        server = make(setup)
    except ScenarioError as error:
        raise BadInput(f"{scenario}: {error.message}", error.hint) from None
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(server, setup, as_json))


async def _run(server: Server, setup: Setup, as_json: bool) -> None:
    await server.start()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if not is_loopback(setup.host):
        warning = f"warning: {setup.host} can be reached by others: this server has no protection but its demo keys"
        print(warning, file=sys.stderr)
    _tell(server, setup, as_json)
    await stop.wait()
    await server.stop()


def _tell(server: Server, setup: Setup, as_json: bool) -> None:
    """Where it is, and how to reach it."""
    socket = server.url.replace("http", "ws", 1)
    rest, streams = ("fapi", f"{socket}/f/") if setup.market == "um" else ("api", f"{socket}/")
    trader = setup.scenario.accounts[0]
    if as_json:
        told = {
            "url": server.url,
            "streams": streams,
            "ws_api": f"{socket}/ws-api/v3" if setup.market == "spot" else None,
            "symbols": list(server.venue.engine.instruments),
        }
        print(json_text.dumps(told | {"key": trader.key}), flush=True)
        return
    clock = server.control.clock()
    symbols = list(server.venue.engine.instruments)
    print(f"exchange: {', '.join(symbols)} {setup.interval}, {_pace(server)}")
    print(f"  REST       {server.url}/{rest}")
    print(f"  streams    {streams}")
    if setup.market == "spot":
        print(f"  ws-api     {socket}/ws-api/v3")
    print(f"  archive    {server.url}")
    print(f"  page       {server.url}/")
    print(f"  key        {trader.key} (its secret is in the scenario file, or docs/exchange.md)")
    print(f"  market at  {_moment(clock['market'])}")
    print("  stop it with Ctrl-C", flush=True)


def _pace(server: Server) -> str:
    word = server.speed_word
    if word == "step":
        return "step by step (POST /_emu/step)"
    return "as fast as it goes" if word == "max" else f"{word:g} × real time"


def _moment(time_ms: int) -> str:
    from pipeline.market.candles import iso

    return iso(time_ms)


def _time(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    try:
        time_ms = utc_ms(text)
    except ValueError as error:
        raise BadInput(
            f"{option} {text}: {error}", "write a date or a time in UTC: 2024-01-31 or 2024-01-31T12:00"
        ) from None
    if not _EARLIEST <= time_ms <= _LATEST:
        raise BadInput(f"{option} {text}: lies outside the years 2000 to 2100")
    return time_ms


def _market(text: str) -> Literal["spot", "um"]:
    if text == "spot":
        return "spot"
    if text == "um":
        return "um"
    raise BadInput(f"--market {text}: is neither spot nor um", "um are USD-M futures")


def _speed(text: str) -> float:
    if text == "step":
        return 0.0
    if text == "max":
        return float("inf")
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= 1e6:
        raise BadInput(f"--speed {text}: is neither a positive number nor 'step' or 'max'", "60 is a minute a second")
    return speed
