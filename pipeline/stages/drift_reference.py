"""What `train` writes into the manifest for the drift monitor."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import Config
from pipeline.models.drift.reference import (
    Windows,
    feature_reference,
    gap_reference,
    score_reference,
    training_windows,
)
from pipeline.models.fitting import Fitted
from pipeline.models.samples import Samples

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def windows_of(config: Config, samples: Samples, used: npt.NDArray[np.bool_]) -> Windows:
    """Windows of the rows that some model learns from, mask [n]."""
    rows = np.flatnonzero(used)
    window_bars = max(config.bars(config.drift.window), 1)
    return training_windows(
        rows, samples.times[rows], samples.symbols[rows].astype(np.int64), samples.step_ms, window_bars
    )


def features_of(samples: Samples, windows: Windows) -> dict[str, Any]:
    """The features' part, from samples that still have their features."""
    assert isinstance(samples.features, np.ndarray)
    return feature_reference(samples.features, samples.names, windows)


def without(reference: dict[str, Any], unused: set[str]) -> dict[str, Any]:
    """The same without features that no model uses."""
    kept = {name: one for name, one in reference["features"].items() if name not in unused}
    return reference | {"features": kept}


def model_reference(
    samples: Samples,
    label: str,
    rows: Indices,
    windows: Windows,
    model: Fitted,
    held_out: tuple[Indices, Floats] | None,
) -> dict[str, Any]:
    """A model's part: its scores and errors on rows that it had not seen.

    rows: that it learned from. held_out: rows [m], and the scores [m] of a model that had not seen them.
    """
    target = samples.targets[label]
    found: dict[str, Any] = {"label": label, "bounded": target.is_bool, "score": None, "gap": None}
    if held_out is None or not len(windows.slices):
        return found
    late, scores = held_out
    if model.curve is not None:
        scores = model.curve.apply(scores)
    seen = model.predict_rows(samples.features, windows.rows)
    return found | {
        "score": score_reference(seen, windows, scores),
        "gap": gap_reference(scores, target.values[late], _outcome_bars(samples, label, rows)),
    }


def _outcome_bars(samples: Samples, label: str, rows: Indices) -> int:
    # Bars that an outcome takes, all but the longest tenth: so far neighbours share it.
    took = (samples.targets[label].end_ms[rows] - samples.times[rows]) // samples.step_ms
    return max(int(np.quantile(took, 0.9)), 1)
