"""Commands reach a running serve over a socket with a token; what else comes in harms nobody."""

import asyncio
import contextlib
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live import canaries
from live.canaries import Canaries

from pipeline.config.serve import Log
from pipeline.errors import BadInput, StorageError
from pipeline.live import control
from pipeline.live.control import PATIENCE, ControlServer, NoAnswer, NotRunning, Patience, ask, read_address
from pipeline.live.kill_switch import KillSwitch
from pipeline.live.logs import ServeLog
from pipeline.live.redaction import Redactor

SHORT = Patience(request=0.2, command=0.3, answer=0.5)


class Told:
    """A `Tell` that remembers."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict]] = []

    def __call__(self, event: str, /, **fields: object) -> None:
        self.heard.append((event, fields))


async def echo(args: dict) -> dict:
    return {"echo": args}


async def refuse(args: dict) -> dict:
    raise BadInput("no such symbol", "there are BTCUSDT and ETHUSDT")


async def fail(args: dict) -> dict:
    raise RuntimeError("internal " + canaries.SECRET)


COMMANDS = {"status": echo, "pause": echo, "refuse": refuse, "fail": fail}


@contextlib.asynccontextmanager
async def serving(folder: Path, commands=COMMANDS, tell=None, patience=PATIENCE) -> AsyncIterator[ControlServer]:
    server = ControlServer(folder / "control.json", commands, tell or Told(), patience)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def asked(folder: Path, command: str, args: dict | None = None, patience: float = 10.0) -> dict:
    return await asyncio.to_thread(ask, folder / "control.json", command, args, patience)


async def raw(port: int, data: bytes, end: bool = False) -> bytes:
    """All that comes back for some bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        writer.write(data)
        await writer.drain()
        if end:
            writer.write_eof()
    answer = b""
    with contextlib.suppress(ConnectionError):
        answer = await reader.read()
    writer.close()
    return answer


def test_a_command_reaches_the_process_and_its_answer_comes_back(tmp_path):
    async def scenario():
        async with serving(tmp_path):
            assert await asked(tmp_path, "pause", {"reason": "lunch"}) == {"echo": {"reason": "lunch"}}
            assert await asked(tmp_path, "status") == {"echo": {}}

    asyncio.run(scenario())


def test_an_answer_may_hold_what_json_does_not(tmp_path):
    async def odd(args: dict) -> dict:
        return {"price": Decimal("0.10"), "score": np.float32(0.5), "ratio": float("nan"), "deep": [float("inf")]}

    async def scenario():
        async with serving(tmp_path, {"odd": odd}):
            return await asked(tmp_path, "odd")

    assert asyncio.run(scenario()) == {"price": "0.10", "score": 0.5, "ratio": None, "deep": [None]}


@pytest.mark.parametrize(
    ("command", "says"),
    [("refuse", "no such symbol"), ("fail", "fail: failed: RuntimeError"), ("nonsense", "'nonsense' is not a command")],
)
def test_an_error_of_a_command_is_the_clients_and_the_server_goes_on(tmp_path, command, says):
    async def scenario():
        async with serving(tmp_path):
            with pytest.raises(BadInput, match=says) as error:
                await asked(tmp_path, command)
            assert await asked(tmp_path, "status", {"a": 1}) == {"echo": {"a": 1}}
            return error.value

    error = asyncio.run(scenario())
    assert error.hint and canaries.SECRET not in str(error)


def test_only_its_user_can_read_the_token_and_it_is_gone_after_the_stop(tmp_path):
    path, tokens = tmp_path / "deep" / "control.json", []

    async def scenario():
        for _ in range(2):
            async with serving(tmp_path / "deep"):
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
                tokens.append(read_address(path).token)
                assert tokens[-1] not in repr(read_address(path))
            assert list(path.parent.iterdir()) == []

    os.umask(old := os.umask(0))
    os.umask(0)
    try:
        asyncio.run(scenario())
    finally:
        os.umask(old)
    assert tokens[0] != tokens[1] and min(map(len, tokens)) >= 40


def test_a_stop_leaves_the_file_of_a_server_that_came_after(tmp_path):
    async def scenario():
        first = ControlServer(tmp_path / "control.json", COMMANDS)
        await first.start()
        async with serving(tmp_path):
            await first.stop()
            await first.stop()
            assert await asked(tmp_path, "status") == {"echo": {}}

    asyncio.run(scenario())


@pytest.mark.parametrize("token", ["", "wrong", "ünïcode", "x" * 5000])
def test_a_wrong_token_is_refused_and_told_of(tmp_path, token):
    async def scenario():
        told = Told()
        async with serving(tmp_path, tell=told) as server:
            port = read_address(server.path).port
            line = json.dumps({"token": token, "command": "pause", "args": {}}).encode() + b"\n"
            answer = json.loads(await raw(port, line))
        return answer, told.heard

    answer, heard = asyncio.run(scenario())
    assert answer["ok"] is False and answer["error"] == "wrong token"
    assert heard == [("command", {"level": "warning", "command": "pause", "reason": "refused: wrong token"})]


GARBAGE = [
    b"\n", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"\x16\x03\x01\x02\x00\n", b"[1]\n", b"null\n", b"{}\n",
    b'{"token": 5, "command": "status"}\n', b'{"token": "x", "command": ["status"]}\n',
    b'{"token": "x", "command": "status", "args": [1]}\n', b"[" * 60_000 + b"\n", b"\xff\xfe\n",
    b"x" * 200_000 + b"\n", b'"x"\n',
    b'{"token": "\\ud800", "command": "x"\n',
]  # fmt: skip


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda data: repr(data[:24]))
def test_garbage_closes_its_connection_and_nothing_else(tmp_path, garbage):
    async def scenario():
        told = Told()
        async with serving(tmp_path, tell=told) as server:
            assert await raw(read_address(server.path).port, garbage) == b""
            assert await asked(tmp_path, "status") == {"echo": {}}
            return told.heard

    assert asyncio.run(scenario()) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=200), max_size=4))
def test_no_bytes_at_all_stop_the_server(tmp_path, pieces):
    async def scenario():
        async with serving(tmp_path) as server:
            port = read_address(server.path).port
            for piece in pieces:
                answer = await raw(port, piece, end=True)
                assert answer == b"" or json.loads(answer)["ok"] is False
            assert await asked(tmp_path, "status") == {"echo": {}}

    asyncio.run(scenario())


def test_a_lone_surrogate_in_the_token_is_answered_like_any_wrong_one(tmp_path):
    async def scenario():
        async with serving(tmp_path) as server:
            return await raw(read_address(server.path).port, b'{"token": "\\ud800", "command": "status"}\n')

    assert json.loads(asyncio.run(scenario()))["error"] == "wrong token"


def test_a_client_that_hangs_blocks_nobody_and_is_dropped(tmp_path):
    async def scenario():
        async with serving(tmp_path, patience=SHORT) as server:
            port = read_address(server.path).port
            hanging = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
            for _, writer in hanging:
                writer.write(b'{"token": ')
            assert await asked(tmp_path, "status") == {"echo": {}}
            dropped = [await reader.read() for reader, _ in hanging]
            for _, writer in hanging:
                writer.close()
            return dropped

    assert asyncio.run(scenario()) == [b""] * 5


def test_a_client_that_does_not_take_its_answer_is_dropped(tmp_path):
    async def large(args: dict) -> dict:
        return {"x": "y" * 12_000_000}

    async def scenario():
        async with serving(tmp_path, {"large": large, "status": echo}, patience=SHORT) as server:
            address = read_address(server.path)
            line = json.dumps({"token": address.token, "command": "large", "args": {}}).encode() + b"\n"
            _, writer = await asyncio.open_connection("127.0.0.1", address.port, limit=1024)
            writer.write(line)
            while not server._connections:
                await asyncio.sleep(0)
            while server._connections:
                await asyncio.sleep(0.01)
            writer.transport.abort()
            assert await asked(tmp_path, "status") == {"echo": {}}
            assert len((await asked(tmp_path, "large"))["x"]) == 12_000_000

    asyncio.run(scenario())


def test_connections_beyond_the_limit_are_closed_and_those_before_are_served(tmp_path, monkeypatch):
    monkeypatch.setattr(control, "MOST_CONNECTIONS", 3)

    async def scenario():
        async with serving(tmp_path) as server:
            address = read_address(server.path)
            held = [await asyncio.open_connection("127.0.0.1", address.port) for _ in range(3)]
            while len(server._connections) < 3:
                await asyncio.sleep(0)
            assert await raw(address.port, b"") == b""
            reader, writer = held[0]
            writer.write(json.dumps({"token": address.token, "command": "status"}).encode() + b"\n")
            answer = json.loads(await reader.read())
            for _, one in held:
                one.close()
            return answer

    assert asyncio.run(scenario()) == {"ok": True, "echo": {}}


def test_a_command_that_takes_too_long_is_answered_for_and_carried_out_all_the_same(tmp_path):
    async def scenario():
        release, done = asyncio.Event(), asyncio.Event()

        async def slow(args: dict) -> dict:
            await release.wait()
            done.set()
            return {}

        async with serving(tmp_path, {"flatten": slow, "status": echo}, patience=SHORT):
            with pytest.raises(BadInput, match=r"flatten: takes longer than 0\.3 s"):
                await asked(tmp_path, "flatten")
            assert await asked(tmp_path, "status") == {"echo": {}}
            release.set()
            await done.wait()

    asyncio.run(scenario())


def test_a_command_goes_on_when_its_client_has_gone_or_the_server_stops(tmp_path):
    async def scenario():
        begun, release, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def slow(args: dict) -> dict:
            begun.set()
            await release.wait()
            done.set()
            return {}

        async with serving(tmp_path, {"flatten": slow}) as server:
            address = read_address(server.path)
            _, writer = await asyncio.open_connection("127.0.0.1", address.port)
            writer.write(json.dumps({"token": address.token, "command": "flatten"}).encode() + b"\n")
            await begun.wait()
            writer.transport.abort()
        release.set()
        await done.wait()

    asyncio.run(scenario())


# What the client makes of a serve that is not there


def test_without_a_file_nothing_runs(tmp_path):
    with pytest.raises(NotRunning, match="is running") as error:
        ask(tmp_path / "control.json", "status")
    assert error.value.exit_code == 2 and error.value.hint


DIES = """
import asyncio, os, sys
from pathlib import Path
from pipeline.live.control import ControlServer
async def main():
    await ControlServer(Path(sys.argv[1]), {}).start()
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""


def test_the_file_of_a_process_that_was_killed_is_recognised(tmp_path):
    path = tmp_path / "control.json"
    subprocess.run([sys.executable, "-c", DIES, str(path)], check=False, cwd=Path(__file__).parents[2])
    assert path.is_file()
    with pytest.raises(NotRunning, match=r"process \d+ has ended"):
        ask(path, "status")


def changed(path: Path, **members: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | members))


def listening(folder: Path, reply: bytes | None) -> tuple[socket.socket, Path]:
    """A file of this very process, and a port that answers so, or not at all."""

    async def write() -> dict:
        async with serving(folder) as server:
            return json.loads(server.path.read_text())

    own = asyncio.run(write())
    listener = socket.create_server(("127.0.0.1", 0))
    path = folder / "control.json"
    path.write_text(json.dumps(own | {"port": listener.getsockname()[1]}))

    def answer() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(reply or b"")

    if reply is not None:
        threading.Thread(target=answer, daemon=True).start()
    return listener, path


def test_another_process_with_the_same_number_is_not_taken_for_it(tmp_path):
    listener, path = listening(tmp_path, None)
    listener.close()
    changed(path, born=read_address(path).born - 60)
    with pytest.raises(NotRunning, match="has ended"):
        ask(path, "status")


def test_a_process_that_listens_no_more_does_not_answer(tmp_path):
    listener, path = listening(tmp_path, None)
    listener.close()
    with pytest.raises(NoAnswer, match="does not listen") as error:
        ask(path, "status")
    assert error.value.exit_code == 3


def test_a_process_that_hangs_is_given_up_in_time(tmp_path):
    listener, path = listening(tmp_path, None)
    with pytest.raises(NoAnswer, match="does not answer"):
        ask(path, "status", patience=0.2)
    listener.close()


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"[]\n", b'{"x": 1}\n', b'{"ok": true'])
def test_a_foreign_answer_is_no_answer(tmp_path, reply):
    listener, path = listening(tmp_path, reply)
    with pytest.raises(NoAnswer, match="does not answer"):
        ask(path, "status", patience=5)
    listener.close()


def test_a_serve_on_another_machine_is_named(tmp_path):
    listener, path = listening(tmp_path, None)
    listener.close()
    changed(path, machine="trader-2")
    with pytest.raises(NotRunning, match="runs on trader-2"):
        ask(path, "status")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"port": "x"}', '{"port": 1, "token": "t"}'])
def test_a_damaged_file_is_one_clear_error(tmp_path, text):
    (tmp_path / "control.json").write_text(text)
    with pytest.raises(BadInput, match=r"control\.json: damaged"):
        ask(tmp_path / "control.json", "status")


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").touch()

    async def scenario():
        await ControlServer(tmp_path / "file" / "control.json", {}).start()

    with pytest.raises(StorageError, match="cannot be written"):
        asyncio.run(scenario())


def test_neither_the_token_nor_what_a_command_failed_with_gets_into_the_log(tmp_path):
    log = ServeLog(tmp_path / "serve.log", Log(), lambda: 0, redactor := Redactor([canaries.SECRET]))
    seen = Canaries()

    async def journal(args: dict) -> dict:
        log("command", {"command": "pause", **args})
        return {}

    async def scenario():
        commands = {**COMMANDS, "pause": journal}
        async with serving(tmp_path, commands, lambda event, **fields: log(event, fields)) as server:
            redactor.add(server.token)
            seen.values["control token"] = server.token
            for command in ("pause", "fail", server.token):
                with contextlib.suppress(BadInput):
                    await asked(tmp_path, command, {"reason": f"x {server.token}"})

    asyncio.run(scenario())
    assert (tmp_path / "serve.log").read_text().count("\n") == 2
    seen.assert_unseen(tmp_path, ignore=["control.json"])


# The kill switch


def test_trading_goes_on_while_there_is_no_file(tmp_path):
    assert KillSwitch(tmp_path / "KILL").reason() == ""
    assert KillSwitch(tmp_path / "no" / "such" / "KILL").reason() == ""


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "is there"), (b" \n", "is there"), (b"the exchange\nis odd\n", "kill switch: the exchange is odd"),
     (b"\xff\xfe" * 1000, "kill switch: ")],
)  # fmt: skip
def test_a_file_stops_trading_and_gives_the_reason(tmp_path, content, says):
    (tmp_path / "KILL").write_bytes(content)
    assert says in KillSwitch(tmp_path / "KILL").reason()
    assert len(KillSwitch(tmp_path / "KILL").reason()) < 300 + len(str(tmp_path))


def test_a_switch_that_cannot_be_looked_at_counts_as_thrown(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    assert "cannot be looked at" in KillSwitch(tmp_path / "file" / "KILL").reason()
    assert "is there" in KillSwitch(tmp_path / "folder").reason()
