"""Compiled code never outlives the sources that it was compiled from."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pipeline

# A compiled function of one file that calls a compiled one of another, the smallest of the core: the rule is the same
# for all of them, and the loop of `simulate` takes a minute to compile.
SCRIPT = """
import numpy as np
from pipeline.trading.booking import book_exit
from pipeline.trading.records import TRADE, new_account, new_positions
from pipeline.trading.rules import Rules
positions, trades = new_positions(1), np.zeros(1, TRADE)
positions["side"], positions["qty"], positions["entry_price"] = 1, 2.0, 100.0
book_exit(new_account(1000.0), positions, trades, 0, 0, 5, 2.0, 90.0, 0.0, 1, 0.0, Rules().array())
print(trades["exit_price"][0])
"""


def test_a_change_of_the_core_reaches_cached_code_that_calls_it(tmp_path: Path) -> None:
    package = tmp_path / "pipeline"
    shutil.copytree(Path(pipeline.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))

    def exit_price() -> float:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-c", SCRIPT]
        return float(subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, check=True).stdout)

    assert exit_price() == 90
    assert list((package / "trading" / "__pycache__").glob("booking.book_exit-*.nbi")), "the call is cached"
    callee = package / "trading" / "positions.py"
    source = callee.read_text()
    callee.write_text(source.replace("trade.exit_price = price_paid", "trade.exit_price = price_paid * 2"))
    assert callee.read_text() != source
    assert exit_price() == 180
