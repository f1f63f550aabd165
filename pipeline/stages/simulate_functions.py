"""The compiled functions that `simulate` calls for one symbol without a grid, so that it does not import numba.

`make setup` has their machine code written to a library; without it, numba compiles them as ever.
"""

import numpy as np

from pipeline.code_library import Library
from pipeline.evaluation import baselines
from pipeline.machine_code import Entry
from pipeline.trading import gates, simulation, volatility
from pipeline.trading.market import FLAGS, NUMBERS, Market
from pipeline.trading.reasons import COUNT
from pipeline.trading.records import TRADE, new_account, new_positions
from pipeline.trading.rules import Rules
from pipeline.trading.stretches import Signals


def entries() -> list[Entry]:
    """The functions, with arguments of the types that they are called with."""
    bars = 2
    one, price, codes = np.ones(1), np.ones(bars), np.zeros(1, np.uint8)
    whole, bits = np.ones(1, np.int64), np.zeros(1, np.uint64)
    flags = np.zeros((len(FLAGS), 1, bars), np.uint8)
    market = Market(np.ones((len(NUMBERS), 1, bars)), flags, np.zeros((1, 5)), np.ones((1, 1, 1)))
    books = np.zeros(bars + 2, TRADE), np.zeros(COUNT, np.int64), codes.copy(), price.copy()
    return [
        Entry(volatility._loop, (np.ones(4), one, codes.view(np.bool_), 0.1, -1.0, one.copy())),
        Entry(gates._refusals, (np.zeros((1, len(gates.INPUTS))), gates.GateRules(), codes, codes.copy())),
        Entry(
            simulation._run_one,
            (market, Signals(bits, bits.copy()), Rules().array(), new_account(1000.0), new_positions(1), *books),
        ),
        Entry(
            baselines._growth, (price, whole, whole, whole - 1, whole[:0], price.copy(), 1, 0.5, 0.001, 0.001), float
        ),
    ]


LIBRARY = Library("simulate", __name__, entries)
install, make = LIBRARY.install, LIBRARY.make
