"""A score without a model: conditions on columns, weighed against each other; over a table and bar by bar alike."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pipeline.config.trading import Condition, RuleSet

Array = npt.NDArray[np.float64]


def rules(columns: Mapping[str, Array], spec: RuleSet) -> Array:
    """Score in [-1, 1] for each row [n]: the share of the long conditions met, less that of the short ones.

    `all` and `any` make either share 0 or 1. A condition with an input that is not a number is not met.
    """
    n = len(next(iter(columns.values())))
    before = {name: np.concatenate([[np.nan], values[:-1]]) for name, values in columns.items()}
    return np.asarray(
        _share([_met(c, columns, before, n) for c in spec.long], spec.long, spec)
        - _share([_met(c, columns, before, n) for c in spec.short], spec.short, spec)
    )


class RulesStream:
    """The same, one row at a time."""

    def __init__(self, spec: RuleSet) -> None:
        self._spec = spec
        self._before = {name: np.array([np.nan]) for name in columns_of(spec)}

    def update(self, values: Mapping[str, float]) -> float:
        """The score of one more row."""
        now = {name: np.array([values[name]]) for name in self._before}
        spec, before, self._before = self._spec, self._before, now
        long_ = _share([_met(c, now, before, 1) for c in spec.long], spec.long, spec)
        short = _share([_met(c, now, before, 1) for c in spec.short], spec.short, spec)
        return float((long_ - short)[0])


def columns_of(spec: RuleSet) -> list[str]:
    """The columns that the conditions read, each once."""
    found: dict[str, None] = {}
    for condition in [*spec.long, *spec.short]:
        found[condition.column] = None
        if isinstance(condition.value, str):
            found[condition.value] = None
    return list(found)


def _met(condition: Condition, now: Mapping[str, Array], before: Mapping[str, Array], n: int) -> npt.NDArray[np.bool_]:
    def against(columns: Mapping[str, Array]) -> Array:
        value = condition.value
        return columns[value] if isinstance(value, str) else np.full(n, value)

    left, right = now[condition.column], against(now)
    if condition.op == ">":
        return np.asarray(left > right)
    if condition.op == ">=":
        return np.asarray(left >= right)
    if condition.op == "<":
        return np.asarray(left < right)
    if condition.op == "<=":
        return np.asarray(left <= right)
    last, last_right = before[condition.column], against(before)
    if condition.op == "crosses_above":
        return np.asarray((last <= last_right) & (left > right))
    return np.asarray((last >= last_right) & (left < right))


def _share(met: Sequence[npt.NDArray[np.bool_]], conditions: Sequence[Condition], spec: RuleSet) -> Array:
    if not met:
        return np.zeros(1)
    total = sum(condition.weight for condition in conditions)
    # Added up in the order of the config, so that one row gets the bits of the table.
    reached = np.zeros(len(met[0]))
    for flags, condition in zip(met, conditions, strict=True):
        reached = reached + np.where(flags, condition.weight, 0.0)
    if spec.require == "share":
        return reached / total
    count = np.sum(met, axis=0)
    return np.where(count == len(met) if spec.require == "all" else count > 0, 1.0, 0.0)
