"""status, pause, resume, flatten and reset-breaker, as commands against a socket of the real server."""

import asyncio
import io
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import pipeline

from pipeline.errors import BadInput, CheckFailed
from pipeline.live.control import ControlServer
from pipeline.live.status import Status
from pipeline.stages import control
from pipeline.stages.runner import Options
from pipeline.stages.status_text import duration, status_text

FULL: Status = {
    "name": "default", "mode": "live", "bundle": "20240131-ab12", "version": "0.1.0", "pid": 42,
    "since": "2024-01-31T09:00:00.000Z", "now": "2024-01-31T12:01:12.000Z", "bar": "2024-01-31T12:00Z",
    "bar_age_s": 12.3, "quote_asset": "USDT", "equity": 10_012.3, "cash": 4000.0, "day_pnl": 12.3,
    "day_return": 0.00123,
    "paused": "", "kill_switch": "",
    "positions": [
        {"symbol": "BTCUSDT", "side": "long", "qty": "0.1", "entry_price": "60000", "price": "60123.4", "pnl": 12.34,
         "stop": "59000.00000000", "target": "62000", "protected": True},
        {"symbol": "ETHUSDT", "side": "long", "qty": "1", "entry_price": "3000", "pnl": -1.5, "stop": None},
        {"symbol": "BNBUSDT", "side": "long", "qty": "2", "entry_price": "300", "stop": "290", "protected": False},
    ],
    "orders": [
        {"symbol": "BTCUSDT", "side": "SELL", "kind": "STOP_LOSS", "leg": "stop", "qty": "0.1", "filled": "0",
         "stop_price": "59000", "state": "OPEN", "client_order_id": "x-1"},
        {"symbol": "ETHUSDT", "side": "BUY", "kind": "LIMIT", "leg": "entry", "qty": "2", "filled": "1",
         "price": "3000.10", "state": "PARTIALLY_FILLED", "client_order_id": "x-2"},
    ],
    "halted": {"BNBUSDT": "order 7 is not ours"},
    "breakers": [{"breaker": "daily_loss", "reason": "-8.1 %", "since": "2024-01-31T11:00:00.000Z"}],
    "exchange": {"name": "testnet", "connected": True, "since": "2024-01-31T09:00:01.000Z", "note": "weight 1,200"},
    "latency": {"p50_ms": 3.21, "p99_ms": 12.04, "count": 1200}, "counters": {"bars": 1234, "orders": 24},
}  # fmt: skip


class Serve:
    """A control server in a thread, which answers as it is told and remembers what it was asked."""

    def __init__(self, path: Path) -> None:
        self.asked: list[tuple[str, dict]] = []
        self.answers: dict[str, dict] = {"status": dict(FULL)}
        self.path = path
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        names = ("status", "pause", "resume", "flatten", "reset-breaker")
        self.server = ControlServer(path, {name: self._command(name) for name in names})
        asyncio.run_coroutine_threadsafe(self.server.start(), self.loop).result()

    def _command(self, name: str):
        async def answer(args: dict) -> dict:
            self.asked.append((name, args))
            return self.answers.get(name, {})

        return answer

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.server.stop(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def serve(workspace: Path) -> Iterator[Serve]:
    running = Serve(workspace / "data/default/serve/control.json")
    yield running
    running.stop()


def test_status_shows_what_a_running_serve_does(serve):
    run = pipeline("status")
    assert run.returncode == 0, run.stderr
    assert run.stdout == status_text(FULL) + "\n"
    assert serve.asked == [("status", {})]


def test_status_as_json_is_the_answer_itself(serve):
    run = pipeline("status", "--json")
    assert (run.returncode, json.loads(run.stdout)) == (0, FULL)


@pytest.mark.parametrize("command", ["status", "pause", "resume", "flatten", "reset-breaker"])
def test_without_a_serve_each_command_is_one_clear_error_and_exit_2(workspace, command):
    run = pipeline(command, *(["--yes"] if command == "flatten" else []))
    assert run.returncode == 2 and run.stdout == ""
    assert run.stderr.startswith("error: no `pipeline serve` of this config is running\n")
    assert not list(workspace.iterdir())


def test_a_serve_that_does_not_answer_is_exit_3(serve, workspace):
    whole = json.loads(serve.path.read_text())
    serve.path.write_text(json.dumps(whole | {"port": 1}))
    run = pipeline("status", "--json")
    assert run.returncode == 3 and json.loads(run.stdout)["exit_code"] == 3
    serve.path.write_text(json.dumps(whole))


def test_a_thrown_kill_switch_is_named_when_nothing_runs(workspace):
    kill = workspace / "data/default/serve/KILL"
    kill.parent.mkdir(parents=True)
    kill.write_text("lunch")
    with pytest.raises(BadInput) as error:
        control.status(Options())
    assert error.value.hint.startswith("kill switch: lunch; remove data/default/serve/KILL")


def test_a_run_in_another_folder_is_found_there(workspace, capsys):
    running = Serve(workspace / "elsewhere/data/default/serve/control.json")
    control.status(Options(workdir=Path("elsewhere")))
    running.stop()
    assert "default: live" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("call", "asked", "says"),
    [
        (lambda o: control.pause(o, "lunch"), ("pause", {"reason": "lunch"}), "paused: nothing is entered"),
        (lambda o: control.resume(o, []), ("resume", {"symbols": []}), "resumed: entries are allowed again"),
        (lambda o: control.resume(o, ["BTCUSDT"]), ("resume", {"symbols": ["BTCUSDT"]}), "resumed: BTCUSDT"),
        (lambda o: control.flatten(o, ["BTCUSDT"], True), ("flatten", {"symbols": ["BTCUSDT"]}), "flat: positions"),
        (lambda o: control.reset_breaker(o, []), ("reset-breaker", {"breakers": []}), "reset: all breakers"),
        (lambda o: control.reset_breaker(o, ["x", "y"]), ("reset-breaker", {"breakers": ["x", "y"]}), "reset: x, y"),
    ],
)  # fmt: skip
def test_a_command_says_what_it_has_done(serve, capsys, call, asked, says):
    call(Options())
    assert serve.asked == [asked]
    assert says in capsys.readouterr().out


def test_what_the_serve_says_of_it_comes_first(serve, capsys):
    serve.answers["pause"] = {"message": "paused already since 12:00"}
    control.pause(Options(), "")
    control.pause(Options(json=True), "")
    assert capsys.readouterr().out == 'paused already since 12:00\n{"message": "paused already since 12:00"}\n'


def test_commands_take_their_arguments_from_the_command_line(serve):
    assert pipeline("pause", "--reason", "exchange maintenance").returncode == 0
    assert pipeline("resume", "--symbol", "BTCUSDT", "--symbol", "ETHUSDT").returncode == 0
    assert pipeline("reset-breaker", "daily_loss", "drawdown").returncode == 0
    assert serve.asked == [
        ("pause", {"reason": "exchange maintenance"}),
        ("resume", {"symbols": ["BTCUSDT", "ETHUSDT"]}),
        ("reset-breaker", {"breakers": ["daily_loss", "drawdown"]}),
    ]


# Flatten asks first


@pytest.mark.parametrize("typed", ["", "\n", "yes\n", "y\n", "DEFAULT\n", "default please\n"])
def test_flatten_does_nothing_unless_the_name_is_typed(serve, monkeypatch, capsys, typed):
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    with pytest.raises(BadInput, match="not confirmed, nothing was done"):
        control.flatten(Options(), [], False)
    assert [name for name, _ in serve.asked] == ["status"]
    shown = capsys.readouterr().out
    assert "BTCUSDT long 0.1" in shown and "Type default to do it" in shown


def test_flatten_goes_ahead_when_the_name_is_typed(serve):
    run = pipeline("flatten", "--symbol", "BTCUSDT", typed="default\n")
    assert run.returncode == 0, run.stderr
    assert serve.asked == [("status", {}), ("flatten", {"symbols": ["BTCUSDT"]})]


def test_flatten_for_programs_needs_yes(serve):
    with pytest.raises(BadInput, match="cannot ask"):
        control.flatten(Options(json=True), [], False)
    assert serve.asked == []


def test_what_stays_open_is_exit_1(serve):
    serve.answers["flatten"] = {"flat": False, "message": "BTCUSDT: 0.1 left"}
    run = pipeline("flatten", "--yes")
    assert run.returncode == 1 and run.stdout == "BTCUSDT: 0.1 left\n"
    assert "not everything is closed" in run.stderr
    with pytest.raises(CheckFailed):
        control.flatten(Options(), [], True)


# The text


def test_a_status_reads_like_this():
    assert (
        status_text(FULL)
        == """\
default: live, stopped by a breaker
  breaker    daily_loss: -8.1 % since 2024-01-31 11:00:00 UTC; `pipeline reset-breaker`
  halted     BNBUSDT: order 7 is not ours; look, then `pipeline resume --symbol BNBUSDT`
  bundle     20240131-ab12
  exchange   testnet, connected since 2024-01-31 09:00:01 UTC; weight 1,200
  last bar   2024-01-31 12:00 UTC, closed 12 s ago
  equity     10,012.30 USDT, today +12.30 (+0.12%), free 4,000.00
  position   BTCUSDT long 0.1 from 60000 at 60123.4: +12.34, stop 59000 on the exchange, target 62000
  position   ETHUSDT long 1 from 3000: -1.50, no stop
  position   BNBUSDT long 2 from 300, stop 290 NOT ON THE EXCHANGE
  order      BTCUSDT stop: SELL 0.1 STOP_LOSS stop 59000, OPEN [x-1]
  order      ETHUSDT entry: BUY 2 LIMIT at 3000.1, PARTIALLY_FILLED, filled 1 [x-2]
  latency    p50 3.2 ms, p99 12.0 ms from bar to decision, last 1,200
  counted    bars 1,234, orders 24
  running    since 2024-01-31 09:00:00 UTC, process 42"""
    )


def test_a_young_serve_that_holds_nothing_says_so():
    young: Status = {
        "name": "demo",
        "mode": "shadow",
        "bar": None,
        "positions": [],
        "orders": [],
        "latency": {"count": 0},
    }
    assert (
        status_text(young)
        == """\
demo: shadow, trading
  last bar   none yet
  position   none
  order      none open"""
    )


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"paused": "lunch"}, "paused"),
        ({"kill_switch": "kill switch: fire", "paused": "x"}, "stopped by the kill switch and paused"),
        ({}, "trading"),
    ],
)
def test_the_first_line_says_whether_it_trades(state, says):
    assert status_text(state).splitlines()[0] == f"serve: running, {says}"


def test_a_lost_connection_is_loud():
    assert "live, NOT CONNECTED since 2024-01-31 09:00:00 UTC" in status_text(
        {"exchange": {"name": "live", "connected": False, "since": "2024-01-31T09:00:00.000Z"}}
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119.4, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 days")]
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("iso", "text"),
    [
        ("2024-01-31T12:00Z", "2024-01-31 12:00 UTC"),
        ("2024-01-31T12:00+00:00", "2024-01-31 12:00 UTC"),
        ("2024-01-31T12:00:01.123456+00:00", "2024-01-31 12:00:01 UTC"),
        ("soon", "soon"),
    ],
)
def test_times_read_well(iso, text):
    assert status_text({"bar": iso}).splitlines()[1] == f"  last bar   {text}"
