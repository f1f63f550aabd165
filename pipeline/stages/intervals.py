"""Intervals beside the scores of a predictions file: bar after bar, from outcomes that were known by then."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.artifacts import Layout, read_schema, read_table
from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.market import candles

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Coverage:
    """How one model's intervals did on one symbol.

    known: outcomes that had an interval. inside: those that lay in it. bounded: intervals with two ends; width: the sum
    of theirs.
    """

    known: int
    inside: int
    bounded: int
    width: float


def with_intervals(config: Config, names: list[str]) -> list[str]:
    """Those of the models that get intervals. Raises BadInput: `intervals.models` names one that is not there."""
    if config.intervals is None:
        return []
    for name in config.intervals.models:
        if name not in names:
            raise BadInput(f"intervals.models: no model '{name}'", f"there is: {', '.join(names)}")
    return list(config.intervals.models) or names


def interval_ends(config: Config, names: list[str]) -> dict[str, str]:
    """Columns of both ends of each interval → the model whose outcomes lie between. Raises BadInput: as above."""
    return {f"{name}_{end}": name for name in with_intervals(config, names) for end in ("low", "high")}


def check_intervals(config: Config, names: list[str]) -> None:
    """Refuse models whose outcomes come at no known time, before anything is computed. Raises BadInput."""
    from pipeline.labels.outcomes import outcome_delay

    for name in with_intervals(config, names):
        outcome_delay(config, name.rsplit("_", 1)[0])


def interval_columns(
    config: Config, layout: Layout, symbol: str, times: Indices, scores: dict[str, Floats]
) -> tuple[dict[str, Floats], dict[str, Coverage]]:
    """`{model}_low` and `{model}_high` [n] of one symbol's scores [n] at `times` [n] in ms, and how they did.

    A bar between them without a score has none, but time passes. Scores that are NaN teach nothing.
    Raises MissingInput, BadInput: the labels are not there, or have other bars; as `check_intervals`.
    """
    from pipeline.labels.outcomes import numbers, outcome_delay
    from pipeline.models.conformal import intervals

    columns: dict[str, Floats] = {}
    coverage: dict[str, Coverage] = {}
    wanted = with_intervals(config, list(scores))
    if config.intervals is None or not len(times):
        return columns, coverage
    path = layout.labels(symbol)
    labelled = candles.times_ms(read_table(path, "labels", ["open_time"]))
    first, last = np.searchsorted(labelled, times[[0, -1]])
    grid = labelled[first : last + 1]
    place = np.searchsorted(grid, times)
    if not len(grid) or place[-1] >= len(grid) or not np.array_equal(grid[place], times):
        raise BadInput(f"{path}: does not have every bar that was scored", "run `pipeline labels` again")
    for name in wanted:
        label = name.rsplit("_", 1)[0]
        table = read_table(path, "labels", [label])
        outcomes = numbers(table.column(label))[first : last + 1]
        bounded = str(read_schema(path, "labels").field(label).type) == "bool"
        spread = np.full(len(grid), np.nan)
        spread[place] = scores[name]
        low, high = intervals(spread, outcomes, config.intervals, outcome_delay(config, label), bounded)
        columns[f"{name}_low"], columns[f"{name}_high"] = low[place], high[place]
        known = ~np.isnan(low) & np.isfinite(outcomes)
        inside = known & (outcomes >= low) & (outcomes <= high)
        ended = known & np.isfinite(low) & np.isfinite(high)
        width = float((high - low)[ended].sum())
        coverage[name] = Coverage(int(known.sum()), int(inside.sum()), int(ended.sum()), width)
    return columns, coverage


def add_coverage(report: dict[str, Any], found: list[dict[str, Coverage]]) -> dict[str, str]:
    """Add `interval` to the pooled figures of folds.json: share of outcomes inside, mean width of the intervals that
    end, share of those that do not, over all symbols.

    Returns the same in words, for the summary. Models without any outcome are left out.
    """
    words = {}
    for name in dict.fromkeys(name for one in found for name in one):
        parts = [one[name] for one in found if name in one]
        known = sum(part.known for part in parts)
        if known:
            share, ended = sum(part.inside for part in parts) / known, sum(part.bounded for part in parts)
            width = sum(part.width for part in parts) / ended if ended else None
            kept = {"coverage": share, "mean_width": width, "without_end": 1 - ended / known, "outcomes": known}
            report["pooled"][name]["interval"] = kept
            shown = "" if width is None else f", mean width {width:.4g}"
            words[f"{name} interval"] = f"{share:.1%} of {known:,} outcomes inside{shown}"
    return words
