"""Running stages as a user does, one process each, with what they took."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """Wall-clock seconds, seconds of processor time, and the peak resident memory of the process in MB."""

    seconds: float
    processor: float
    megabytes: float


def stage(name: str, config: Path, folder: Path, *options: str) -> Cost:
    """Run `pipeline NAME -c config OPTIONS` in `folder`; ends the benchmark if it fails."""
    return process(folder, name, "-m", "pipeline.cli", name, "-c", str(config), *options)


def process(folder: Path, name: str, *arguments: str, **variables: str) -> Cost:
    """Run Python with these arguments in `folder`, its output in NAME.log there; ends the benchmark if it fails.

    variables: of the environment, besides those that are there.
    """
    start = time.perf_counter()
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, env=os.environ | variables, stdout=log, stderr=log
        )
        # wait4 gives this child's own peak, where getrusage would give that of all children so far.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{name} failed:\n{(folder / f'{name}.log').read_text()}")
    seconds = time.perf_counter() - start
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
