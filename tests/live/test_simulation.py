"""The real process in a simulated world: no crash and no fault makes it lose, double or forget anything; and the same
seed gives the same bytes on every wire and on the disk."""

import asyncio
import os
import random
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from live import simulation
from live.simulation import Disk, World
from live.virtual_network import Network, nothing_but
from live.virtual_time import Crash, Life, VirtualLoop

from pipeline.exchange.binance.client import Client, SigningClient
from pipeline.exchange.port import Unclear
from pipeline.live.clerk import Clerk
from pipeline.live.driver import Driver
from pipeline.live.loop import Loop

SEEDS = int(os.environ.get("PIPELINE_SIMULATIONS", "18"))
CRASHES = 6
SET_ORDERS = ("1", "5")


@pytest.fixture(scope="module", autouse=True)
def folder():
    with simulation.prepared():
        yield


@pytest.mark.timeout(60 + 30 * SEEDS)
def test_no_crash_and_no_fault_makes_it_lose_double_or_forget_anything():
    worlds = {seed: World(seed, CRASHES) for seed in range(1, SEEDS + 1)}
    wrong = {seed: found for seed, world in worlds.items() if (found := world.run())}
    assert wrong == {}
    crashed = [world.crashed_at for world in worlds.values()]
    assert sum(one.total() for one in crashed) > 3 * SEEDS, "it has hardly died, and proves little"
    filled = [sum(row.kind == "FILL" for row in world.disk.rows_) for world in worlds.values()]
    assert sum(filled) > 2 * SEEDS, "it has hardly traded, and proves little"
    assert sum(world.network.troubles for world in worlds.values()) > 3 * SEEDS


def test_what_a_stop_leaves_that_cannot_be_sold_is_written_off_once():
    world = World(1, 0, quiet=True)
    assert world.run() == []
    kinds = [row.kind for row in world.disk.rows_]
    assert kinds.count("DUST") >= 1, "nothing was left that could not be sold, and this proves nothing"
    assert kinds.count("PROTECT") <= kinds.count("TRADE") + 2


def forgets_at_the_start(monkeypatch):
    async def reconcile(self):
        self._reconciled_ms = self._clock.now_ms()

    for name in ("reconcile", "_reconcile"):
        monkeypatch.setattr(Loop, name, reconcile)
    # What rests long is looked for every minute: that would find what the start has forgotten.
    monkeypatch.setattr(Clerk, "_look", lambda self, symbol, now_ms: None)


def sends_before_it_writes(monkeypatch):
    carry = Driver._carry

    async def hasty(self, turn):
        for effect in turn.others:
            self._begin(effect)
        # As if the disk came after the wire.
        await self._clock.sleep(0.2)
        await carry(self, replace(turn, others=[]))

    monkeypatch.setattr(Driver, "_carry", hasty)


def acts_on_what_came_late(monkeypatch):
    refusals = Loop._refusals
    monkeypatch.setattr(Loop, "_refusals", lambda self, late: refusals(self, False))


def sends_again_what_was_not_answered(monkeypatch):
    change = Client.change

    async def again(self, send, call, window_ms, params, weight=1):
        try:
            return await change(self, send, call, window_ms, params, weight)
        except Unclear:
            return await change(self, send, call, window_ms, params, weight)

    monkeypatch.setattr(Client, "change", again)


@pytest.mark.parametrize(
    ("mutate", "kinds", "likely"),
    [
        (forgets_at_the_start, (), 7),
        (sends_before_it_writes, (), 12),
        (acts_on_what_came_late, ("outage",), 1),
        (sends_again_what_was_not_answered, ("lose_reply", "not_accepted", "report_lost", "not_found"), 2),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_mistake_is_found(mutate, kinds, likely, monkeypatch):
    mutate(monkeypatch)
    # First with the seed that has last found it; any other will do.
    seeds = sorted(range(1, 13), key=lambda seed: seed != likely)
    assert any(World(seed, 8, menu=24, kinds=kinds).run() for seed in seeds)


def test_the_same_seed_gives_the_same_bytes_whatever_hashes_and_addresses_are():
    first, second = (_traced(8, hashes) for hashes in ("1", "2"))
    assert first == second
    for crossed in ("POST /api/v3/order", "userDataStream.subscribe", " record ", " crash ", '"e":"executionReport"'):
        assert crossed in first, f"no {crossed} is in the trace, which proves little"


def test_another_seed_gives_another_trace():
    worlds = [World(5, 2, bars=4), World(8, 2, bars=4)]
    assert [world.run() for world in worlds] == [[], []]
    assert worlds[0].text != worlds[1].text


def test_a_look_at_the_machine_s_clock_changes_the_trace(monkeypatch):
    signed = SigningClient._get_request_kwargs

    def late(self, method, is_signed, *args, **kwargs):
        if is_signed:
            kwargs["data"]["timestamp"] = self.server_ms() - time.time_ns() // 1000 % 100
        return signed(self, method, is_signed, *args, **kwargs)

    assert _is_steady()
    monkeypatch.setattr(SigningClient, "_get_request_kwargs", late)
    assert not _is_steady()


def test_the_order_of_a_set_changes_the_trace():
    planted = """
from pipeline.exchange.binance.adapter import BinanceExchange
opened = BinanceExchange._streams
BinanceExchange._streams = lambda self, names: opened(self, list(set(names)))
"""
    # Hashes under which the two streams of the book and the trades come in different orders.
    first, second = (_traced(8, hashes, planted, bars=1) for hashes in SET_ORDERS)
    assert first != second


def _is_steady() -> bool:
    """Whether two worlds of a seed are the same."""
    worlds = [World(4, 2, bars=3), World(4, 2, bars=3)]
    for world in worlds:
        world.run()
    return worlds[0].text == worlds[1].text


def _traced(seed: int, hashes: str, planted: str = "", bars: int = 5) -> str:
    """The trace of a world in a process of its own."""
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from live.simulation import World, prepared
{planted}
with prepared():
    world = World({seed}, bars={bars})
    world.run()
    sys.stdout.write(world.text)
"""
    environment = {**os.environ, "PYTHONHASHSEED": hashes}
    return subprocess.run(
        [sys.executable, "-c", script], env=environment, check=True, capture_output=True
    ).stdout.decode()


# Parts


def test_a_socket_in_a_simulation_is_an_error():
    with nothing_but(random.Random(1), lambda: 0.0), pytest.raises(AssertionError, match="a real socket"):
        socket.create_connection(("127.0.0.1", 9))


def test_time_jumps_to_the_next_timer_and_the_dead_do_nothing():
    loop = VirtualLoop(random.Random(1))
    done: list[tuple[float, str]] = []

    async def work(name: str) -> None:
        try:
            while True:
                await asyncio.sleep(10)
                done.append((loop.time(), name))
        finally:
            done.append((loop.time(), f"{name} cleaned up"))

    life = Life(1, lambda life, kind: None)

    async def world() -> None:
        loop.begin(life, work("process"))
        await asyncio.sleep(25)
        loop.bury(life)
        await asyncio.sleep(1000)
        assert loop.time() == 1025

    begun = time.monotonic()
    loop.run_until_complete(world())
    assert time.monotonic() - begun < 1025
    assert done == [(10.0, "process"), (20.0, "process")]
    loop.close()


@pytest.mark.parametrize(("where", "kept"), [("append", 1), ("torn", 1), ("appended", 2)])
def test_a_record_is_there_whole_or_not_at_all(where, kept):
    disk = Disk(lambda words: None)
    dies = False

    def crossed(life: Life, kind: str) -> None:
        if dies and kind == where:
            life.dead = True
            raise Crash

    life = Life(1, crossed)
    life.context().run(disk.append, "START", {"n": 1})
    dies = True
    with pytest.raises(Crash):
        life.context().run(disk.append, "BAR", {"n": 2})
    assert [number for number, _, _ in disk.read()] == list(range(1, kept + 1))
    # A process that is dead writes nothing.
    with pytest.raises(Crash):
        life.context().run(disk.append, "BAR", {"n": 3})
    assert len(disk.rows_) == kept


def test_bytes_of_a_connection_keep_their_order_and_a_mute_one_says_nothing():
    loop = VirtualLoop(random.Random(1))
    network = Network(loop, random.Random(2), lambda words: None)
    heard = b""

    class Server(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            nonlocal heard
            heard += data

    async def world() -> None:
        await network.listen(Server, port=80)
        pipe, _ = await network.connect(asyncio.Protocol, port=80)
        for number in range(50):
            pipe.write(bytes([number]))
        await asyncio.sleep(1)
        assert heard == bytes(range(50))
        network._mute(pipe, pipe.other)
        pipe.write(b"unheard")
        await asyncio.sleep(60)
        assert heard == bytes(range(50)) and not pipe.other.closed
        with pytest.raises(ConnectionRefusedError):
            await network.connect(asyncio.Protocol, port=81)

    loop.run_until_complete(world())
    loop.close()
