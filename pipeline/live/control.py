"""Talking to a running `serve`: a socket on this machine, and a token that only its user can read.

One line of JSON in, `{"token": …, "command": …, "args": {…}}`, and one out: what the command returned with
`"ok": true`, or `{"ok": false, "error": …, "hint": …}`. What is not such a line closes its connection and nothing else.
This module is a seam: it opens sockets and files, makes the token, and waits.
"""

import asyncio
import contextlib
import hmac
import json
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import BadInput, ExchangeError, PipelineError, StorageError
from pipeline.live.redaction import plain
from pipeline.live.telling import Tell, tell_nobody

HOST = "127.0.0.1"
# Longest request and answer, bytes.
LONGEST_REQUEST, LONGEST_ANSWER = 64 * 1024, 16 * 1024 * 1024
# Connections at once; more are closed as they come.
MOST_CONNECTIONS = 32

Command = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


@dataclass(frozen=True)
class Patience:
    """Seconds that a client has to send its line, a command to answer, and a client to take the answer."""

    request: float = 5.0
    command: float = 120.0
    answer: float = 5.0


PATIENCE = Patience()


@dataclass(frozen=True)
class Address:
    """Where a `serve` listens; `control.json`. machine, pid, born: which process it was written by."""

    port: int
    token: str
    machine: str
    pid: int
    born: float

    def __repr__(self) -> str:
        return f"Address({HOST}:{self.port}, pid {self.pid})"


class NotRunning(BadInput):
    """There is no `serve` to talk to."""


class NoAnswer(ExchangeError):
    """A `serve` is there and does not answer."""


class ControlServer:
    """Listens for commands. `start` it in the running loop, `stop` it at the end.

    path: of control.json. commands: by name; each is given the request's args and returns what is answered. One that
    raises PipelineError is answered with its message and hint, any other error with its kind.
    """

    def __init__(
        self, path: Path, commands: Mapping[str, Command], tell: Tell = tell_nobody, patience: Patience = PATIENCE
    ) -> None:
        self.path = path
        self.token = secrets.token_urlsafe(32)
        self._commands = commands
        self._tell = tell
        self._patience = patience
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen, and say where in control.json. Raises StorageError: it cannot be written."""
        self._server = await asyncio.start_server(self._connected, HOST, 0, limit=LONGEST_REQUEST)
        port = self._server.sockets[0].getsockname()[1]
        try:
            _write(self.path, Address(port, self.token, socket.gethostname(), os.getpid(), _born(os.getpid())))
        except OSError as error:
            self._server.close()
            raise StorageError(f"{self.path}: cannot be written: {error.strerror}") from error

    async def stop(self) -> None:
        """Listen no more, and remove control.json if it is still this server's. Answers on their way are dropped."""
        if self._server is None:
            return
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._server = None
        with contextlib.suppress(BadInput, OSError):
            if hmac.compare_digest(read_address(self.path).token, self.token):
                self.path.unlink()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._connections) >= MOST_CONNECTIONS:
            writer.transport.abort()
            return
        self._connections.add(task)
        try:
            async with asyncio.timeout(self._patience.request):
                line = await reader.readuntil(b"\n")
            answer = await self._answer(line)
            if answer is not None:
                writer.write(_line(answer))
                async with asyncio.timeout(self._patience.answer):
                    await writer.drain()
                    writer.close()
                    await writer.wait_closed()
        except (TimeoutError, OSError, EOFError, asyncio.LimitOverrunError):
            pass  # It sent no line, or did not take the answer: its own affair.
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _answer(self, line: bytes) -> dict[str, Any] | None:
        """What to answer; None for what is no request at all."""
        request = _request(line)
        if request is None:
            return None
        token, name, args = request
        if not hmac.compare_digest(token.encode("utf-8", "backslashreplace"), self.token.encode()):
            self._tell("command", level="warning", command=name[:40], reason="refused: wrong token")
            return _error("wrong token", "it is made anew at each start; ask again")
        command = self._commands.get(name)
        if command is None:
            return _error(f"'{name[:40]}' is not a command", f"there are: {', '.join(sorted(self._commands))}")
        return await self._run(name, command, args)

    async def _run(self, name: str, command: Command, args: dict[str, Any]) -> dict[str, Any]:
        # Not given up when the client goes: a command that was begun is carried out.
        running = asyncio.ensure_future(command(args))
        try:
            async with asyncio.timeout(self._patience.command):
                return {"ok": True, **(await asyncio.shield(running))}
        except TimeoutError:
            running.add_done_callback(self._ended_late)
            return _error(
                f"{name}: takes longer than {self._patience.command:g} s", "it goes on; see `pipeline status`"
            )
        except asyncio.CancelledError:
            running.add_done_callback(self._ended_late)
            raise
        except PipelineError as error:
            return _error(error.message, error.hint)
        except Exception as error:  # A command must not end the server.
            self._tell("error", reason=f"command {name}: {type(error).__name__}", error=error)
            return _error(f"{name}: failed: {type(error).__name__}", "see serve.log")

    def _ended_late(self, done: "asyncio.Future[dict[str, Any]]") -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            self._tell("error", reason=f"a command failed: {type(error).__name__}", error=error)


def ask(path: Path, command: str, args: Mapping[str, Any] | None = None, patience: float = 10.0) -> dict[str, Any]:
    """The answer of the `serve` that wrote `path`.

    patience: seconds for all of it. Raises NotRunning: there is none. NoAnswer: it is there and does not answer.
    BadInput: it says no.
    """
    address = read_address(path)
    line = json.dumps({"token": address.token, "command": command, "args": dict(args or {})}).encode() + b"\n"
    try:
        answer = _exchange(address.port, line, patience)
    except OSError as error:
        raise _silent(path, address, error) from None
    try:
        told = json.loads(answer)
        if not isinstance(told, dict) or "ok" not in told:
            raise ValueError
    except ValueError:
        raise _silent(path, address, ConnectionError("it is another program")) from None
    if told.pop("ok") is not True:
        raise BadInput(str(told.get("error", "refused")), str(told.get("hint", "")))
    return told


def read_address(path: Path) -> Address:
    """Where a `serve` listens, as it wrote down. Raises NotRunning: there is no such file. BadInput: it is damaged."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return Address(int(raw["port"]), str(raw["token"]), str(raw["machine"]), int(raw["pid"]), float(raw["born"]))
    except FileNotFoundError:
        raise NotRunning("no `pipeline serve` of this config is running", f"start it; it writes {path}") from None
    except PermissionError:
        raise BadInput(f"{path}: may be read by another user only", "run the command as the user of `serve`") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: damaged ({type(error).__name__})", "restart `pipeline serve`") from None


def is_alive(address: Address) -> bool:
    """Whether the process that wrote an address still runs on this machine, and is not another with its number."""
    born = _born(address.pid)
    return born > 0 and abs(born - address.born) < 1.5


def _silent(path: Path, address: Address, error: OSError) -> PipelineError:
    """Why nobody answered."""
    if address.machine != socket.gethostname():
        return NotRunning(f"`pipeline serve` runs on {address.machine}", "run the command there")
    if not is_alive(address):
        return NotRunning(
            f"no `pipeline serve` is running: process {address.pid} has ended and left {path}",
            "start it again; it finds out what became of its orders",
        )
    if isinstance(error, ConnectionRefusedError):
        return NoAnswer(
            f"process {address.pid} runs and does not listen", "it may be stopping; try again, or restart it"
        )
    return NoAnswer(
        f"process {address.pid} does not answer: {error.strerror or error or 'time is over'}",
        "try again; `pipeline journal` and serve.log show what it did last; the kill-switch file works without it",
    )


def _exchange(port: int, line: bytes, patience: float) -> bytes:
    """Send a line, and read the answer. Raises OSError, TimeoutError among them."""
    end = time.monotonic() + patience
    with socket.create_connection((HOST, port), timeout=patience) as connection:
        connection.sendall(line)
        answer = bytearray()
        while not answer.endswith(b"\n"):
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError("time is over")
            connection.settimeout(left)
            piece = connection.recv(65536)
            if not piece:
                raise ConnectionError("it closed the connection")
            answer += piece
            if len(answer) > LONGEST_ANSWER:
                raise ConnectionError("its answer has no end")
    return bytes(answer)


def _request(line: bytes) -> tuple[str, str, dict[str, Any]] | None:
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict):
        return None
    token, command, args = told.get("token"), told.get("command"), told.get("args", {})
    if not (isinstance(token, str) and isinstance(command, str) and isinstance(args, dict)):
        return None
    return token, command, args


def _line(answer: dict[str, Any]) -> bytes:
    """An answer as JSON, null for what is no number."""
    text = json.dumps(answer, default=plain)
    return json.dumps(json.loads(text, parse_constant=lambda name: None)).encode() + b"\n"


def _error(message: str, hint: str) -> dict[str, Any]:
    return {"ok": False, "error": message, "hint": hint}


def _born(pid: int) -> float:
    """When a process was started, seconds since 1970; 0 if there is none."""
    import psutil

    try:
        process = psutil.Process(pid)
        return 0.0 if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except (psutil.Error, ValueError, OverflowError):
        return 0.0


def _write(path: Path, address: Address) -> None:
    """Whole or not at all, and never readable by others, not even for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(address), file)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
