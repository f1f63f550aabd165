"""No decision where a model's interval is too wide."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from pipeline.config.trading import Abstain

Scores = npt.NDArray[np.float64]


def columns_of(spec: Abstain) -> list[str]:
    """The columns that the step reads: the score, and both ends of each interval."""
    ends = [f"{model}_{end}" for model in spec.models for end in ("low", "high")]
    return list(dict.fromkeys([spec.column, *ends]))


def abstain(columns: Mapping[str, Scores], spec: Abstain) -> Scores:
    """The score [n] where all intervals are known and at most `max_width` wide, else NaN."""
    score = columns[spec.column]
    sure = np.ones(len(score), np.bool_)
    for model in spec.models:
        sure &= columns[f"{model}_high"] - columns[f"{model}_low"] <= spec.max_width
    return np.where(sure, score, np.nan)


def abstain_one(values: Mapping[str, float | bool], spec: Abstain) -> float:
    """The same of one row."""
    for model in spec.models:
        if not values[f"{model}_high"] - values[f"{model}_low"] <= spec.max_width:
            return float("nan")
    return float(values[spec.column])
