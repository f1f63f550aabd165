"""The blocks of a walk-forward: what each predicts, which rows it may learn from, and which models score it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.config import Config, utc_ms
from pipeline.config.training import Algorithm
from pipeline.errors import BadInput
from pipeline.evaluation.splits import Fold
from pipeline.models.samples import Samples
from pipeline.stages.times import iso

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """A fold in time: train on [train_start, start), predict [start, stop), all in ms."""

    number: int
    train_start: int
    start: int
    stop: int


@dataclass(frozen=True)
class TrainingRows:
    """Rows of one label that a block may learn from, and how many others overlapped or were embargoed."""

    rows: Indices
    purged: int
    embargoed: int


@dataclass(frozen=True)
class Scorer:
    """Which models make a column of scores. size: with so many of the best features instead of those that pass."""

    label: str
    algorithm: Algorithm
    size: int | None = None


def scorers(config: Config, labels: list[str]) -> dict[str, Scorer]:
    """Columns of scores by name; those of `train.selection.sizes`, which are only for the report, have an @."""
    algorithms, sizes = config.train.algorithms, config.train.selection.sizes
    found = {f"{label}_{algorithm.name}": Scorer(label, algorithm) for label in labels for algorithm in algorithms}
    first = algorithms[0]
    return found | {f"{label}_{first.name}@{m}": Scorer(label, first, m) for label in labels for m in sizes}


def make_blocks(config: Config, samples: Samples) -> list[Block]:
    """Blocks on the complete time grid from the first row with all features to the last.

    Raises BadInput: the data are shorter than train_length and one block.
    """
    from pipeline.evaluation.splits import walk_forward

    rolling, step = config.predict_rolling, samples.step_ms
    first = int(samples.times.min())
    last = int(samples.times.max()) + step
    if rolling.end:
        last = min(last, utc_ms(rolling.end))
    train_length, size = config.bars(rolling.train_length), config.bars(rolling.prediction_size)
    total = (last - first) // step
    # Rounded up to the grid: no bar before the start that was asked for.
    first_test = -(-(utc_ms(rolling.start) - first) // step) if rolling.start else train_length
    if not 0 < first_test < total:
        wanted = f"predict_rolling.start {rolling.start}" if rolling.start else f"train_length of {train_length:,} bars"
        raise BadInput(
            f"predict_rolling: {wanted} leaves nothing to predict: the features reach from {iso(first)} to {iso(last)} "
            f"({total:,} bars)",
            "shorten train_length, choose another start, or download more bars",
        )
    folds = walk_forward(total, first_test, train_length, size, rolling.steps, rolling.window)
    return [_block(fold, first, step) for fold in folds]


def _block(fold: Fold, first: int, step: int) -> Block:
    return Block(fold.number, first + fold.train[0] * step, first + fold.test[0] * step, first + fold.test[1] * step)


def block_rows(samples: Samples, label: str, block: Block, embargo_bars: int) -> TrainingRows:
    """Rows before the block whose outcome was known before it, less the embargo."""
    from pipeline.evaluation.splits import purge

    near = samples.trainable & samples.targets[label].known
    near &= (samples.times >= block.train_start) & (samples.times < block.start)
    rows = np.flatnonzero(near)
    if not len(rows):
        return TrainingRows(rows, 0, 0)
    intervals = samples.intervals(label, rows)
    clear = purge(intervals, np.array([[block.start, block.stop]]))
    apart = purge(intervals, np.array([[block.start - embargo_bars * samples.step_ms, block.stop]]))
    return TrainingRows(rows[apart], int((~clear).sum()), int((clear & ~apart).sum()))
