"""Check 4: with labels that belong to other bars, the out-of-fold score falls to chance.

Labels are shuffled in blocks, so that neighbours stay alike: a split that trains on a test row's neighbours then
still scores. What chance is with such labels is measured on the same scores, against labels moved along.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.evaluation.leaks.findings import Finding

Floats = npt.NDArray[np.float64]
_TURNS = 200
# Standard deviations above chance, and the least distance from it, at which no luck is believed any more.
MAX_Z, LEAST = 4.0, 0.02


def shuffled(labels: pa.Table, names: list[str], block: int, seed: int) -> pa.Table:
    """The table with the known values of each label moved in blocks of about `block` rows; ends and nulls stay."""
    rng = np.random.default_rng(seed)
    for name in names:
        column = labels.column(name).combine_chunks()
        known = np.flatnonzero(pc.is_valid(column).to_numpy(zero_copy_only=False))
        if not len(known):
            continue
        parts = np.array_split(known, max(len(known) // block, min(len(known), 8)))
        order = np.concatenate([parts[i] for i in rng.permutation(len(parts))])
        take = np.arange(len(column))
        take[known] = order
        place = labels.schema.get_field_index(name)
        labels = labels.set_column(place, labels.schema.field(place), column.take(pa.array(take)))
    return labels


@dataclass(frozen=True)
class Chance:
    """How far a score is from what the same scores reach against labels that are moved along in time.

    score: |AUC − 0.5|'s signed value, or a correlation. mean, sd: over the moved labels.
    """

    score: float
    mean: float
    sd: float

    @property
    def z(self) -> float:
        return (self.score - self.mean) / self.sd if self.sd > 0 else 0.0


def chance(scores: Floats, values: Floats, block: int, seed: int) -> Chance | None:
    """The rank correlation of scores with values [n], and its spread over turns of the values by `block` and more.

    For a yes-or-no label it is 2·AUC − 1 up to a factor that all turns share. None if either does not vary.
    """
    n = len(values)
    if n < 4 * block or np.ptp(scores) == 0 or np.ptp(values) == 0:
        return None
    a, b = _ranks(scores), _ranks(values)
    rng = np.random.default_rng(seed)
    turns = rng.integers(block, n - block, _TURNS)
    moved = np.array([float(a @ np.roll(b, turn)) for turn in turns])
    return Chance(float(a @ b), float(moved.mean()), float(moved.std()))


def finding(name: str, rows: int, rounds: list[Chance]) -> Finding:
    """Whether the scores of some rounds, each with labels shuffled anew, are chance on the whole."""
    z = float(np.mean([one.z for one in rounds])) * np.sqrt(len(rounds))
    excess = float(np.mean([one.score - one.mean for one in rounds]))
    leaks = z > MAX_Z and excess > LEAST
    note = f"rank correlation {excess:+.3f} from chance, {z:+.1f} standard deviations"
    return Finding("shuffled labels", "prediction", name, (), rows, rows if leaks else 0, 0, note)


def _ranks(values: Floats) -> Floats:
    # Centred ranks of length one, ties averaged.
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2.0)[place]
    ranks = ranks - ranks.mean()
    return np.asarray(ranks / np.sqrt(ranks @ ranks))
