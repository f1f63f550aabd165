"""The command line: help, errors, exit codes, and how little it loads."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import pipeline

HEAVY = ("pandas", "numpy", "pyarrow", "talib", "lightgbm", "sklearn", "numba", "binance", "pydantic", "ruamel", "rich")
ROOT = Path(__file__).parents[2]


def commands() -> list[str]:
    from pipeline.cli import app

    return [command.name or "" for command in app.registered_commands]


def test_help_loads_nothing_but_typer() -> None:
    code = (
        "import sys; sys.argv = ['pipeline', '--help']\n"
        "from pipeline.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", commands())
def test_help_of_each_command_shows_an_example_on_one_line(command: str) -> None:
    from typer.testing import CliRunner

    from pipeline.cli import app

    text = next(c for c in app.registered_commands if c.name == command).callback.__doc__ or ""  # type: ignore[union-attr]
    example = re.search(rf"^Example: pipeline {command}\b.*$", text, re.MULTILINE)
    assert example is not None
    assert f"  {example[0]}\n" in CliRunner().invoke(app, [command, "--help"], terminal_width=60).output


def test_examples_name_configs_that_exist() -> None:
    from pipeline.cli import app

    texts = " ".join(c.callback.__doc__ or "" for c in app.registered_commands if c.callback)
    assert all((ROOT / path).is_file() for path in re.findall(r"-c (configs/\S+\.yaml)", texts))


def test_version() -> None:
    command = [sys.executable, "-m", "pipeline.cli", "--version"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"pipeline \d+\.\d+\.\d+\n", run.stdout)


def test_a_bad_argument_is_the_end_of_the_process_with_2_and_without_a_traceback() -> None:
    command = [sys.executable, "-m", "pipeline.cli", "mrge"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("error: ") and "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["mrge"], "Did you mean 'merge'"),
        (["merge", "--intervall", "1m"], "--interval"),
        (["merge", "-c"], "requires an argument"),
        (["list", "nonsense"], "'what': 'nonsense' is not one of 'features'"),
        (["merge", "-c", "missing.yaml"], "missing.yaml: no such config file"),
        (["merge", "--interval", "7m"], "'7m' is not an interval"),
        (["merge", "--symbol", "btcusdt"], "btcusdt"),
        (["merge", "--set", "merge"], "write it as a.b=value"),
        (["run", "--from", "nonsense"], "'nonsense' is not a stage"),
        (["run", "--from", "output", "--to", "merge"], "comes before"),
    ],
)
def test_bad_arguments_are_one_clear_error_and_exit_2(workspace: Path, arguments: list[str], says: str) -> None:
    run = pipeline(*arguments)
    assert run.returncode == 2
    assert run.stderr.startswith("error: ") and says in run.stderr
    assert len(run.stderr.splitlines()) <= 2 and "Traceback" not in run.stderr
    assert not list(workspace.iterdir())


def test_json_errors_are_one_object_on_standard_output(workspace: Path) -> None:
    run = pipeline("merge", "-c", "missing.yaml", "--json")
    assert json.loads(run.stdout) == {"error": "missing.yaml: no such config file", "hint": "", "exit_code": 2}


def test_default_config_is_used_where_there_is_one(workspace: Path) -> None:
    (workspace / "configs").mkdir()
    (workspace / "configs/default.yaml").write_text("symbols: [ETHUSDT]\ninterval: 7m\n")
    assert "configs/default.yaml: interval" in pipeline("merge").stderr


def test_a_reader_that_goes_away_is_not_an_error(workspace: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


def test_ctrl_c_is_one_line_and_exit_130(tmp_path: Path) -> None:
    code = (
        "import time, pipeline.stages.check as stage\n"
        "def wait(options): print('ready', flush=True); time.sleep(60)\n"
        "stage.check = wait\n"
        "import sys; sys.argv = ['pipeline', 'check']\n"
        "from pipeline.cli import main; main()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout and process.stderr
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(120) == 130
    assert process.stderr.read() == "interrupted: nothing is half-written; run the same command to go on\n"
