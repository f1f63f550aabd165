"""The search in processes of its own: killed inside a trial, and several at once."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stages.searching import THRESHOLDS, lines, search, tried, write_bars, write_config

from pipeline.artifacts import Layout
from pipeline.stages.trials import ledger


def _kill_inside_a_trial(process: "subprocess.Popen[bytes]", study: Path, finished: int) -> None:
    # Stopped again and again, until it stands still with a trial begun and so many at their end.
    while process.poll() is None:
        time.sleep(0.02)
        process.send_signal(signal.SIGSTOP)
        try:
            with contextlib.closing(sqlite3.connect(f"file:{study}?mode=ro", uri=True, timeout=0.1)) as database:
                states = [state for (state,) in database.execute("SELECT state FROM trials")]
        except sqlite3.OperationalError:
            states = []  # not there yet, or just being written
        if "RUNNING" in states and states.count("COMPLETE") + states.count("PRUNED") >= finished:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return
        process.send_signal(signal.SIGCONT)
    raise AssertionError("it ended before it could be killed")


@pytest.mark.slow
def test_a_killed_search_goes_on_as_if_nothing_had_happened(workspace: Path) -> None:
    write_bars("a")
    write_bars("b")
    path = write_config(name="a", trials=9)
    command = [sys.executable, "-m", "pipeline.cli", "optimize", "-c", str(path), "--workers", "1"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for wanted in (2, 5):  # twice, once early and once while the sampler has something to go by
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment)
        _kill_inside_a_trial(process, Path("data/a/search/study.sqlite"), wanted)
    result = search(path)
    whole = search(write_config(name="b", trials=9))
    keys = ("complete", "values", "objective", "by_block")  # a trial that was lost keeps its number
    assert [[t[k] for k in keys] for t in tried(result)] == [[t[k] for k in keys] for t in tried(whole)]
    assert len(result["trials"]) == 9
    identities = [trial.identity for trial in ledger(Layout("a")).read()]
    # The look at the holdout, and what the search found when it ended.
    assert len(identities) == len(set(identities)) == len(lines("search", "b")) + 2
    assert ledger(Layout("a")).count("search") == ledger(Layout("b")).count("search")


@pytest.mark.slow
def test_two_workers_try_as_many_as_were_asked_for(workspace: Path) -> None:
    write_bars()
    result = search(write_config(space=THRESHOLDS), trials=7, workers=2)
    assert len(result["trials"]) == 7
    assert len(lines("search")) == len({json.dumps(trial["values"]) for trial in result["trials"]})
