"""Compiled code never outlives the sources that it was compiled from."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pipeline

SCRIPT = """
import sys; sys.path.insert(0, {tests!r})
from trading.markets import at, market, rules, trade
flat = (100.0, 101.0, 99.0, 100.0)
bars = market(flat, flat, flat, (90.0, 91.0, 89.0, 90.0))
print(trade(bars, at(4, 0), at(4, 2), rules(), 1000.0).trades["exit_price"][0])
"""


def test_a_change_of_the_core_reaches_the_cached_loop(tmp_path: Path) -> None:
    package = tmp_path / "pipeline"
    shutil.copytree(Path(pipeline.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    script = SCRIPT.format(tests=str(Path(__file__).parents[1]))

    def exit_price() -> float:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-c", script]
        return float(subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, check=True).stdout)

    assert exit_price() == 90
    core = package / "trading" / "core.py"
    core.write_text(core.read_text().replace("open_ * (1 - side * slip)", "open_ * 2"))
    assert exit_price() == 180
