"""`pipeline exchange` as a process: what it prints, what it refuses, and how it stops."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow.parquet as pq
import pytest
from builders import bars, random_walk
from exchange.servers import MINUTE, START
from typer.testing import CliRunner

from pipeline import cli
from pipeline.exchange.local.journal import read

# Seconds until a process that should have ended is given up.
PATIENCE = 60
COMMAND = [sys.executable, "-m", "pipeline.cli", "exchange", "--port", "0"]


@contextmanager
def running(*options: str, cwd: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The command in a process of its own, and what it printed as JSON once it listened."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [*COMMAND, "--json", *options], cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def get(url: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=PATIENCE) as reply:
        return json.load(reply)


def test_it_serves_says_where_and_stops_on_a_signal(tmp_path: Path) -> None:
    with running("--symbol", "BTCUSDT", "--speed", "step", "--journal", "j.jsonl", cwd=tmp_path) as (process, told):
        assert told["url"].startswith("http://127.0.0.1:") and told["symbols"] == ["BTCUSDT"]
        assert get(f"{told['url']}/api/v3/ping") == {}
        assert get(f"{told['url']}/_emu/clock")["speed"] == "step"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert process.stderr is not None and process.stderr.read() == ""
    assert next(entry["kind"] for entry in read((tmp_path / "j.jsonl").read_text())) == "start"


def save(folder: Path, symbol: str = "BTCUSDT", n: int = 500) -> Path:
    path = folder / f"{symbol}_1m.parquet"
    pq.write_table(bars(random_walk(n), start_ms=START, filled=False), path)
    return path


def test_it_replays_a_file_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    save(tmp_path)
    options = ("--data", ".", "--start", "2024-01-01T01:00", "--end", "2024-01-01T02:00", "--speed", "max")
    with running(*options, cwd=tmp_path) as (process, told):
        clock = get(f"{told['url']}/_emu/clock")
        while not clock["done"]:
            clock = get(f"{told['url']}/_emu/clock")
        assert clock["market"] == START + 120 * MINUTE and clock["speed"] == "max"
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) in (0, 130)
        assert process.stderr is not None and "Traceback" not in process.stderr.read()


def refusal(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The one message of a command that exits with 2 and never listens."""
    with patch.object(sys, "argv", ["pipeline", "exchange", "--port", "0", *options]), pytest.raises(SystemExit) as end:
        cli.main()
    told = capsys.readouterr().err
    assert end.value.code == 2, told
    assert told.startswith("error: ") and "Traceback" not in told
    assert len(told.splitlines()) <= 2, told
    return told


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--speed", "fast"], "--speed fast"),
        (["--speed", "0"], "--speed 0"),
        (["--speed", "-1"], "--speed -1"),
        (["--speed", "nan"], "--speed nan"),
        (["--speed", "1e99"], "--speed 1e99"),
        (["--start", "yesterday"], "--start yesterday"),
        (["--start", "2024-13-01"], "--start 2024-13-01"),
        (["--start", "2024-02-01", "--end", "2024-01-01"], "--end 2024-01-01 is not after"),
        (["--start", "0001-01-01"], "0001"),
        (["--start", "2005-01-01"], "error: the synthetic market begins at 2017-01-01"),
        (["--start", "9999-12-31"], "9999"),
        (["--interval", "7x"], "--interval"),
        (["--interval", "0m"], "--interval"),
        (["--symbol", "btcusdt"], "btcusdt"),
        (["--symbol", "BTCXYZ"], "BTCXYZ"),
        (["--symbol", ""], "''"),
        (["--data", "nowhere"], "nowhere"),
        (["--scenario", "nowhere.yaml"], "nowhere.yaml"),
        (["--host", "no.such.host.invalid"], "no.such.host.invalid"),
        (["--journal", "."], "Is a directory"),
        (["--journal", "/proc/nowhere/j"], "/proc/nowhere"),
    ],
)
def test_options_that_make_no_sense(
    workspace: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert words in refusal(capsys, *options)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fault: []", "fault"),
        ("faults: [{kind: earthquake}]", "'earthquake' is not a fault"),
        ("faults: [{kind: ws_drop, args: {mode: softly}}]", "ws_drop: mode"),
        ("faults: [{kind: ws_drop, at: {bars: 1}}]", "faults.0.at.bars"),
        ("faults: [{kind: symbol_status, args: {symbol: XRPUSDT}, at: {bar: 9}}]", "XRPUSDT"),
        ("faults: 3", "faults"),
        ("reports: sometimes", "reports"),
        ("market: {path: zigzag}", "market.path"),
        ("market: {spread_bps: -1}", "market.spread_bps"),
        ("accounts: []", "accounts"),
        ("accounts: [{key: a b}]", "accounts.0.key"),
        ("accounts: [{balances: {USDT: -5}}]", "balances"),
        ("accounts: [{balances: {USDT: .nan}}]", "balances"),
        ("accounts: [{balances: {USDT: much}}]", "balances"),
        ("accounts: [{maker: 2}]", "accounts.0.maker"),
        ("accounts: [{key: one}, {key: one}]", "same key"),
        ("limits: {weight_per_minute: 0}", "limits.weight_per_minute"),
        ("- a", "list"),
        ("a: b: c", "line 1: mapping values are not allowed"),
        ("reports: after\nreports: before", 'line 2: found duplicate key "reports"'),
        ("{", "line 1"),
        ("\x00", "cannot be read"),
    ],
)
def test_scenarios_that_make_no_sense(
    workspace: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    Path("s.yaml").write_text(text, encoding="utf-8")
    told = refusal(capsys, "--scenario", "s.yaml")
    assert words in told and "s.yaml" in told


def test_a_scenario_that_is_no_text_or_a_folder(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("s.yaml").write_bytes(b"\xff\xfe\x00\x01")
    assert "s.yaml" in refusal(capsys, "--scenario", "s.yaml")
    assert "cannot be read" in refusal(capsys, "--scenario", ".")


def test_data_that_cannot_be_used(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(workspace)
    content = path.read_bytes()
    assert "ETHUSDT 1m" in refusal(capsys, "--data", ".", "--symbol", "ETHUSDT")
    assert "no bars" in refusal(capsys, "--data", ".", "--start", "2025-01-01")
    for name, damaged in (("empty", b""), ("cut", content[: len(content) // 2]), ("noise", b"PAR1" + content[9:])):
        file = workspace / f"{name}.parquet"
        file.write_bytes(damaged)
        assert name in refusal(capsys, "--data", str(file))
    for name, text in (("empty.csv", ""), ("words.csv", "a,b\nc,d\n"), ("note.txt", "hello")):
        (workspace / name).write_text(text)
        assert name in refusal(capsys, "--data", name)
    (workspace / "bad.zip").write_bytes(b"PK\x03\x04nothing")
    assert "bad.zip" in refusal(capsys, "--data", "bad.zip")


def test_a_port_that_is_taken(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"127.0.0.1:{port}: cannot listen" in refusal(capsys, "--port", port)


def test_help_shows_an_example() -> None:
    shown = CliRunner().invoke(cli.app, ["exchange", "--help"]).output
    assert "pipeline exchange --symbol BTCUSDT" in shown
