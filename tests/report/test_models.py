"""The table of scores: calibration errors before and after, where there are both."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.report import models
from pipeline.report.data import Curve, ModelScores, ReportData


def _data(pooled: dict[str, Any]) -> ReportData:
    rng = np.random.default_rng(0)
    score = rng.random(500)
    outcome = (rng.random(500) < score).astype(float)
    model = ModelScores("up_gb", "up", "gb", True, outcome, score, np.ones(500))
    empty = np.empty(0)
    curve = Curve(np.empty(0, np.int64), empty, empty, empty)
    folds = {"folds": [], "pooled": {"up_gb": pooled}}
    return ReportData("t", "", {}, pa.table({}), curve, {}, scores=[model], folds=folds)


def test_the_error_before_calibration_stands_beside_the_one_after() -> None:
    data = _data({"uncalibrated": {"ece": 0.1234}})
    page = models.scores(data)
    assert "before calibration" in page and "0.1234" in page
    # Of other scores than the walk-forward's nothing is known.
    assert "before calibration" not in models.scores(replace(data, scores_from="held out"))


def test_without_calibration_there_is_no_such_column() -> None:
    assert "before calibration" not in models.scores(_data({}))
