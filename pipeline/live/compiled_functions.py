"""The compiled functions that live trading calls, and how it comes by their machine code without a compiler.

`make setup` has it written to a library, and so has `serve` a minute after a start without one; `install` loads it.
"""

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

import pipeline
from pipeline import machine_code
from pipeline.live.telling import Tell
from pipeline.machine_code import Entry

# Where what is compiled comes from.
_SOURCES = ("trading", "features", "models", "signals")


def entries() -> list[Entry]:
    """Every compiled function that is called while trading, with arguments as they are then."""
    from pipeline.features import straight, windows
    from pipeline.models import flat_trees
    from pipeline.signals import smooth
    from pipeline.trading import booking, core, gates, volatility
    from pipeline.trading.market import FLAGS, NUMBERS, Market
    from pipeline.trading.reasons import COUNT
    from pipeline.trading.records import TRADE, new_account, new_positions
    from pipeline.trading.rules import Rules

    symbols = 2
    account, positions = new_account(1000.0), new_positions(symbols)
    trades, refused, rules = np.zeros(4, TRADE), np.zeros(COUNT, np.int64), Rules().array()
    flags, signals = np.zeros((len(FLAGS), symbols, 1), np.uint8), np.ones(symbols, np.uint8)
    market = Market(np.ones((len(NUMBERS), symbols, 1)), flags, np.zeros((symbols, 5)), np.eye(symbols)[None])
    one, two, small = np.ones(1), np.ones((1, 1)), np.ones((1, 1), np.float32)
    whole, codes = np.zeros(1, np.int64), np.zeros(1, np.uint8)
    # A tree that is one leaf, 64 bits wide; its splits would be read as two floats or four integers.
    slots = one.copy(), one.view(np.float32).copy(), one.view(np.uint16).copy()
    # One window, the mean of one row, and none of TA-Lib's functions.
    group, window = np.array([[0, 1, 0, 1, 2, 0, 1]]), np.array([[windows.CODES["mean"], 1, 1, 0]])
    none = np.zeros((1, 0), np.int64)
    instructions = np.zeros((0, 9), np.int64), np.zeros((0, 4), np.int64), group, whole, window, two, whole
    memory = none, np.ones((1, 2)), np.zeros((1, 1), np.int64)
    return [
        Entry(core.step_once, (account, positions, trades, refused, signals, 0, 0, market, rules), float),
        Entry(core.close_once, (account, positions, refused, signals, 0, 0, market, rules), float),
        Entry(booking.book_entry, (account, positions, 0, 0, 1, 0.5, 1.0, 0.0, rules)),
        Entry(booking.book_exit, (account, positions, trades, 0, 0, 0, 0.5, 1.0, 0.1, 1, 0.1, rules), bool),
        Entry(gates._refusals, (np.zeros((1, len(gates.INPUTS))), gates.GateRules(), codes, codes.copy())),
        Entry(volatility._step, (np.ones(4), 2.0, 0.1, -1.0), float),
        Entry(volatility._loop, (np.ones(4), one, codes.view(np.bool_), 0.1, -1.0, one.copy())),
        Entry(smooth.window_mean, (one, 1), float),
        Entry(flat_trees._lay, (whole[:0], small[0, :0], whole[:0], whole[:0], one, *slots)),
        Entry(flat_trees._rename, (slots[2], whole, whole)),
        Entry(flat_trees._score, (*slots, whole, whole + 1, one, small, whole, two)),
        Entry(straight._advance, (whole, two, *instructions, *memory, one.copy(), two.copy()), int),
        Entry(windows.newest, (whole, two, whole + 1, whole + 1, two, 1, one.copy())),
    ]


def library() -> Path | None:
    """Where the library of these sources is or would be; None where there can be none."""
    package = Path(pipeline.__file__).parent
    files = [path for part in _SOURCES for path in (package / part).rglob("*.py")]
    return machine_code.library_path([*files, package / "compiled.py", package / "machine_code.py", Path(__file__)])


def install() -> bool:
    """Let the functions be called from the library. False: there is none, and numba is loaded, before the first bar."""
    path, functions = library(), entries()
    try:
        if path is not None:
            machine_code.load(path, functions)
            return True
    except (OSError, AttributeError):
        pass
    for entry in functions:
        entry.function(*machine_code.copied(entry.example))
    return False


def make() -> str:
    """Write the library unless it is there; what has come of it."""
    path = library()
    if path is None:
        return "machine code is kept on 64-bit Linux only"
    if path.is_file():
        return f"{path} is there"
    try:
        machine_code.build(path, entries())
    except (OSError, ValueError) as error:
        return f"machine code cannot be kept: {error}"
    for old in path.parent.glob(f"{path.stem.rsplit('-', 1)[0]}-*"):
        if old != path:
            old.unlink(missing_ok=True)
    return f"{path} is made"


def make_later(tell: Tell, after_seconds: float = 60.0) -> None:
    """Let a process of its own, which lets all others go first, make the library for the next start."""

    def run() -> None:
        words = [sys.executable, "-m", "pipeline.live.compiled_functions"]
        with contextlib.suppress(OSError):
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            tell("code", reason=(done.stdout or done.stderr).strip().split("\n")[-1])

    if library() is not None:
        later = threading.Timer(after_seconds, run)
        later.daemon = True
        later.start()


if __name__ == "__main__":
    os.nice(19)
    print(make())
