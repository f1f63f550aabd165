"""A score without a model: conditions on columns, weighed against each other; over a table and bar by bar alike."""

import math
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
    """The same, one row at a time, by Python's arithmetic, which rounds as numpy's."""

    def __init__(self, spec: RuleSet) -> None:
        self._spec = spec
        self._before = dict.fromkeys(columns_of(spec), math.nan)

    def update(self, values: Mapping[str, float]) -> float:
        """The score of one more row; `values` may hold other columns as well."""
        spec, before = self._spec, self._before
        now = self._before = {name: values[name] for name in before}
        long_ = _share_one([_met_one(c, now, before) for c in spec.long], spec.long, spec)
        return long_ - _share_one([_met_one(c, now, before) for c in spec.short], spec.short, spec)


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


def _met_one(condition: Condition, now: Mapping[str, float], before: Mapping[str, float]) -> bool:
    value = condition.value
    left, right = now[condition.column], now[value] if isinstance(value, str) else value
    if condition.op == ">":
        return left > right
    if condition.op == ">=":
        return left >= right
    if condition.op == "<":
        return left < right
    if condition.op == "<=":
        return left <= right
    last, last_right = before[condition.column], before[value] if isinstance(value, str) else value
    if condition.op == "crosses_above":
        return last <= last_right and left > right
    return last >= last_right and left < right


def _share_one(met: Sequence[bool], conditions: Sequence[Condition], spec: RuleSet) -> float:
    if not met:
        return 0.0
    if spec.require != "share":
        return 1.0 if (all(met) if spec.require == "all" else any(met)) else 0.0
    total = sum(condition.weight for condition in conditions)
    reached = 0.0
    for flag, condition in zip(met, conditions, strict=True):
        reached += condition.weight if flag else 0.0
    return reached / total


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
