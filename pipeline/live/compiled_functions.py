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

from pipeline import code_library, machine_code
from pipeline.live.telling import Tell
from pipeline.machine_code import Entry
from pipeline.sources import sources_of


def entries() -> list[Entry]:
    """Every compiled function that is called while trading, with arguments as they are then."""
    from pipeline.features import clock, divergence, higher, straight, talib_functions, windows
    from pipeline.live import market_rows, one_call
    from pipeline.models import flat_trees
    from pipeline.signals import rows, smooth
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
    swings = np.zeros(15)
    # One step, the average of one score.
    steps = np.array([[3, 0, 0, 1, 0, 1, 1]]), np.array([[0.0, np.nan]]), whole, two.copy()
    parts = [
        whole, np.ones((1, 2)), np.zeros(6, np.int64), np.array([0.1, -1.0, 0.5, -0.5]), *instructions, *memory, one,
        one, whole, whole + 1, one, whole, *steps, np.ones((1, 4)), one, two, two, np.ones((1, 4)),
    ]  # fmt: skip
    return [
        Entry(clock._circle, (one, 24, np.empty((2, 1)))),
        Entry(divergence._step, (swings, 1.0, 2.0, 1, 5), float),
        Entry(divergence._loop, (swings, one, one.copy(), 1, 5, one.copy())),
        Entry(higher._group, (one, whole, 0, one.copy())),
        Entry(talib_functions._log, (one, one.copy())),
        Entry(windows.rolling, (0, one, two, 1, 1, one.copy())),
        Entry(core.step_once, (account, positions, trades, refused, signals, 0, 0, market, rules), float),
        Entry(core.close_once, (account, positions, refused, signals, 0, 0, market, rules), float),
        Entry(booking.book_entry, (account, positions, 0, 0, 1, 0.5, 1.0, 0.0, rules)),
        Entry(booking.book_exit, (account, positions, trades, 0, 0, 0, 0.5, 1.0, 0.1, 1, 0.1, rules), bool),
        Entry(gates._refusals, (np.zeros((1, len(gates.INPUTS))), gates.GateRules(), codes, codes.copy())),
        Entry(
            market_rows.see,
            (
                whole,
                np.ones((1, 5)),
                codes.view(np.bool_),
                np.ones((1, 4)),
                np.ones((1, 4)),
                one.copy(),
                0.1,
                -1.0,
                0.5,
                -0.5,
                market.numbers.copy(),
                flags.copy(),
            ),
        ),
        Entry(volatility._loop, (np.ones(4), one, codes.view(np.bool_), 0.1, -1.0, one.copy())),
        Entry(smooth.smooth_step, (one.copy(), 2.0, 1, 0.0), float),
        Entry(
            rows.carry_out,
            (
                0,
                1,
                whole,
                codes.view(np.bool_),
                *steps,
                two.copy(),
                codes.copy(),
            ),
        ),
        Entry(flat_trees._lay, (whole[:0], small[0, :0], whole[:0], whole[:0], one, *slots)),
        Entry(flat_trees._rename, (slots[2], whole, whole)),
        Entry(flat_trees.walk, (*slots, whole, whole + 1, one, small, whole, two)),
        Entry(straight.advance, (whole, two, *instructions, *memory, one.copy(), two.copy()), int),
        Entry(
            one_call.decide,
            (
                one_call.laid(parts)[0],
                one_call.Seen({"A": 0}, 1, ["a"], np.zeros((1, 5)), two).block,
            ),
            int,
        ),
        Entry(windows.newest, (whole, two, whole + 1, whole + 1, two, 1, one.copy())),
    ]


def library() -> Path | None:
    """Where the library of these sources is or would be; None where there can be none."""
    modules = {one.function.__module__ for one in entries()}
    return machine_code.library_path(sources_of("pipeline.machine_code", "pipeline.live.compiled_functions", *modules))


def install() -> bool:
    """Let the functions be called from the library. False: there is none, and the first call of each imports numba."""
    return code_library.install(library(), entries())


def make() -> str:
    """Write the library unless it is there; what has come of it."""
    return code_library.make(library(), entries())


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
