"""Check 5: no training label's interval meets a test label's, in each fold that was used.

Counted by itself, by brute force over sorted intervals, without the code that purges.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.leaks.findings import Finding

Intervals = npt.NDArray[np.int64]


def overlapping(train: Intervals, test: Intervals) -> npt.NDArray[np.bool_]:
    """Which training intervals meet a test interval: bool [n] of half-open [n, 2] against [m, 2], in any order."""
    if not len(test) or not len(train):
        return np.zeros(len(train), bool)
    # Meeting one means: of the test intervals that begin before it ends, not all have ended when it begins.
    begins, ends = np.sort(test[:, 0]), np.sort(test[:, 1])
    begun = np.searchsorted(begins, train[:, 1], side="left")
    over = np.searchsorted(ends, train[:, 0], side="right")
    return np.asarray(begun > over)


def training_rows(name: str, fold: int, train: Intervals, test: Intervals) -> Finding:
    """The training rows of one label in one fold against its test rows."""
    met = overlapping(train, test)
    note = f"training interval {train[met][0].tolist()} (ms) meets the test block" if met.any() else ""
    return Finding("overlap", "fold", f"{name} fold {fold}", (), len(train), int(met.sum()), 0, note)


def declared(
    fold: Mapping[str, Any], name: str, legal: int, starts_ms: tuple[int, int], stops_ms: tuple[int, int]
) -> Finding:
    """What folds.json says of a fold against what it may be.

    legal: rows that could be learnt from without meeting the test block, at most. starts_ms, stops_ms: of training
    and test. More rows than are legal, or a training part that reaches into the test block, is a leak.
    """
    used = int(fold["train_rows"])
    reaches = starts_ms[0] < stops_ms[1] and starts_ms[1] < stops_ms[0]
    wrong = max(used - legal, 0) or int(reaches)
    note = ""
    if used > legal:
        note = f"{used:,} rows were trained on, of which {legal:,} at most do not meet the test block"
    elif reaches:
        note = "the training part reaches into the test block"
    return Finding("overlap", "fold", f"{name} fold {fold['fold']}", (), used, wrong, 0, note)
