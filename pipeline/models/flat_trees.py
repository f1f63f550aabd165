"""LightGBM's trees in one block of memory, in the order in which they are walked.

LightGBM keeps five arrays for each tree, each in a place of its own. A server scores one row a minute, and finds none
of them in the processor's caches: fetching a thousand pieces takes longer than walking the trees. Here a split takes
eight bytes, what it leads to on the left lies behind it, and the models of a bundle lie one behind the other.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled

Rows = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Halves = npt.NDArray[np.uint16]
# A slot is a leaf's value, float64, or a split: its threshold, float32, then as uint16 its feature, and `right`: slots
# from here to what lies on its right, times four, and whether left (1) and right (2) of it is a leaf.
_SPLIT = np.dtype([("threshold", "f8"), ("feature", "i8")])
_LEFT_LEAF, _RIGHT_LEAF, _JUMP = 1, 2, 2
_MOST_LEAVES = 8_000
# Of a node's decision: the bit of a categorical split, and the missing value that zero stands for.
_CATEGORICAL, _ZERO = 1, 1
# What LightGBM takes for zero: kZeroThreshold, a float's 1e-35.
_NOTHING = float(np.float32(1e-35))


class FlatTrees:
    """The trees of one or more models, each with one output.

    slots: splits and leaves of all trees, depth first, left before right [n]. first: each tree's first slot [trees].
    until: each model's last tree, plus one [models]. sigmoids: of a classification's output; 0 for a regression, which
    has none [models]. splits: threshold as LightGBM has it, and feature, of every split.
    """

    def __init__(
        self,
        slots: Floats,
        first: npt.NDArray[np.int64],
        until: npt.NDArray[np.int64],
        sigmoids: Floats,
        splits: np.ndarray,
    ) -> None:
        self.splits = splits
        self.move([slots, first, until, sigmoids])

    def arrays(self) -> list[np.ndarray]:
        """What `walk` takes, without the views of slots."""
        return [self.slots, self.first, self.until, self.sigmoids]

    def move(self, arrays: Sequence[np.ndarray]) -> None:
        """Go on with copies of `arrays`."""
        self.slots, self.first, self.until, self.sigmoids = arrays
        self._views = self.slots, self.slots.view(np.float32), self.slots.view(np.uint16), *arrays[1:]

    def score(self, row: Rows) -> float:
        """The only model's score of a row [features]; not a number if one of them is not finite."""
        scores = np.empty((1, 1))
        self.score_rows(row[None], np.arange(len(row)), scores)
        return float(scores[0, 0])

    def score_rows(self, rows: Rows, needed: npt.NDArray[np.int64], scores: Floats) -> None:
        """Scores of rows [n, features] into [n, models]; not numbers where one of the features needed is not finite."""
        walk(*self._views, rows, needed, scores)


def together(models: Sequence[tuple[FlatTrees, npt.NDArray[np.int64]]]) -> FlatTrees:
    """Models side by side, each with the columns of a wider row that its features are."""
    parts, splits = [], []
    for flat, columns in models:
        part, own = flat.slots.copy(), flat.splits.copy()
        _rename(part.view(np.uint16), flat.first, columns)
        own["feature"] = columns[own["feature"]]
        parts.append(part)
        splits.append(own)
    begins = np.cumsum([0, *(len(flat.slots) for flat, _ in models)])
    trees = np.cumsum([0, *(len(flat.first) for flat, _ in models)])
    return FlatTrees(
        np.concatenate(parts),
        np.concatenate([flat.first + begin for (flat, _), begin in zip(models, begins, strict=False)]),
        np.concatenate([flat.until + tree for (flat, _), tree in zip(models, trees, strict=False)]),
        np.concatenate([flat.sigmoids for flat, _ in models]),
        np.concatenate(splits),
    )


def flat_trees(text: str) -> FlatTrees | None:
    """The trees of a model in LightGBM's text format; None if it has what is not known here.

    Known are numerical splits of one output, of the objectives binary and regression.
    """
    header, *sections = text.split("\nTree=")
    facts = _facts(header)
    sigmoid = _sigmoid(facts.get("objective", ""))
    if sigmoid is None or facts.get("num_tree_per_iteration") != "1" or "average_output" in header or not sections:
        return None
    parts, splits, first = [], [], [0]
    for section in sections:
        tree = _facts(section.split("\nend of trees")[0])
        if tree.get("num_cat") != "0" or tree.get("is_linear", "0") != "0" or int(tree["num_leaves"]) > _MOST_LEAVES:
            return None
        values = np.array(tree["leaf_value"].split(), np.float64)
        own, left, right = np.zeros(len(values) - 1, _SPLIT), np.zeros(0, np.int64), np.zeros(0, np.int64)
        if len(values) > 1:
            decisions = np.array(tree["decision_type"].split(), np.int64)
            if (decisions & _CATEGORICAL).any() or ((decisions >> 2 & 3) == _ZERO).any():
                return None
            own["threshold"] = tree["threshold"].split()
            own["feature"] = tree["split_feature"].split()
            left, right = (np.array(tree[f"{side}_child"].split(), np.int64) for side in ("left", "right"))
            if own["feature"].max() > np.iinfo(np.uint16).max:
                return None
        slots = np.zeros(2 * len(values) - 1)
        features, thresholds = own["feature"].copy(), _as_floats(own["threshold"])
        _lay(features, thresholds, left, right, values, slots, slots.view(np.float32), slots.view(np.uint16))
        parts.append(slots)
        splits.append(own)
        first.append(first[-1] + len(slots))
    return FlatTrees(
        np.concatenate(parts), np.array(first[:-1]), np.array([len(parts)]), np.array([sigmoid]), np.concatenate(splits)
    )


def _as_floats(thresholds: Floats) -> Rows:
    # The largest float32 that is no larger: a float32 is at most the one if and only if it is at most the other.
    with np.errstate(over="ignore"):
        rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def _sigmoid(objective: str) -> float | None:
    words = objective.split()
    if words == ["regression"]:
        return 0.0
    if len(words) == 2 and words[0] == "binary" and words[1].startswith("sigmoid:"):
        return float(words[1].removeprefix("sigmoid:"))
    return None


def _facts(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


@compiled()
def _lay(
    features: npt.NDArray[np.int64],
    thresholds: Rows,
    left: npt.NDArray[np.int64],
    right: npt.NDArray[np.int64],
    values: Floats,
    slots: Floats,
    floats: Rows,
    halves: Halves,
) -> None:
    # Depth first: a split's left side behind it, then its right side. Leaves below 0 are ~number.
    waiting = np.zeros((len(values) + 1, 2), np.int64)  # node, and the split whose right side it is
    waiting[0] = 0 if len(features) else -1, -1
    count, at = 1, 0
    while count > 0:
        count -= 1
        node, parent = waiting[count]
        if parent >= 0:
            halves[4 * parent + 3] |= (at - parent) << _JUMP
        if node < 0:
            slots[at] = values[~node]
        else:
            floats[2 * at] = thresholds[node]
            halves[4 * at + 2] = features[node]
            halves[4 * at + 3] = (_LEFT_LEAF if left[node] < 0 else 0) | (_RIGHT_LEAF if right[node] < 0 else 0)
            waiting[count] = right[node], at
            waiting[count + 1] = left[node], -1
            count += 2
        at += 1


@compiled()
def _rename(halves: Halves, first: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> None:
    # Which slots are leaves is known only to the splits that lead to them.
    slots = len(halves) // 4
    leaf = np.zeros(slots, np.bool_)
    for tree in range(len(first)):
        until = first[tree + 1] if tree + 1 < len(first) else slots
        leaf[first[tree]] = until - first[tree] == 1
    for at in range(slots):
        if not leaf[at]:
            right = halves[4 * at + 3]
            leaf[at + 1] = right & _LEFT_LEAF != 0
            leaf[at + (right >> _JUMP)] = right & _RIGHT_LEAF != 0
            halves[4 * at + 2] = columns[halves[4 * at + 2]]


@compiled(nogil=True)
def _cleaned(rows: Rows, needed: npt.NDArray[np.int64], usable: npt.NDArray[np.bool_]) -> Rows:
    # What is as good as zero made zero, and who has something that is no number marked.
    copied = False
    for r in range(len(rows)):
        for k in needed:
            value = rows[r, k]
            if not np.isfinite(value):
                usable[r] = False
            elif value != 0 and abs(value) <= _NOTHING:
                if not copied:
                    rows, copied = rows.copy(), True
                rows[r, k] = 0
    return rows


@compiled(nogil=True)
def walk(
    slots: Floats,
    floats: Rows,
    halves: Halves,
    first: npt.NDArray[np.int64],
    until: npt.NDArray[np.int64],
    sigmoids: Floats,
    rows: Rows,
    needed: npt.NDArray[np.int64],
    scores: Floats,
) -> None:
    """Scores of rows into [n, models]. floats, halves: views of slots."""
    usable = np.ones(len(rows), np.bool_)
    rows = _cleaned(rows, needed, usable)
    tree = 0
    for model in range(len(until)):
        scores[:, model] = 0.0
        while tree < until[model]:
            begin = first[tree]
            tree += 1
            lone = begin + 1 == (first[tree] if tree < len(first) else len(slots))
            # Each tree is fetched once for all rows.
            for r in range(len(rows)):
                at = begin
                going = not lone
                while going:
                    right = halves[4 * at + 3]
                    if rows[r, halves[4 * at + 2]] <= floats[2 * at]:
                        going = right & _LEFT_LEAF == 0
                        at += 1
                    else:
                        going = right & _RIGHT_LEAF == 0
                        at += right >> _JUMP
                scores[r, model] += slots[at]
    for r in range(len(rows)):
        for model in range(len(until)):
            if not usable[r]:
                scores[r, model] = np.nan
            elif sigmoids[model] != 0:
                scores[r, model] = 1.0 / (1.0 + math.exp(-sigmoids[model] * scores[r, model]))
