"""The steps for many symbols at once: each symbol's own, whoever else is asked."""

from typing import Any

import numpy as np
import pytest

from pipeline.config.trading import Signals
from pipeline.signals import SignalRows, SignalStream

COMBINE = {
    "combine": {"columns": ["up", "down"], "name": "both", "combine": "relative", "coefficient": 2, "constant": 0.1}
}
SMOOTH = {"smooth": {"columns": ["both", "up"], "name": "smooth", "window": 4, "point_threshold": 0.4}}
AVERAGE = {"smooth": {"columns": ["both"], "name": "average", "window": 5.0}}
RULES = {"rules": {"name": "rule", "long": [{"column": "both", "op": "crosses_above", "value": 0.3}], "require": "any"}}
ABSTAIN = {"abstain": {"name": "sure", "column": "average", "models": ["up"], "max_width": 0.5}}


POINTS = {"smooth": {"columns": ["up"], "name": "points", "window": 2, "point_threshold": 0.5}}


def threshold(column: str, sell: float = -0.1) -> dict[str, Any]:
    return {"threshold": {"column": column, "buy": 0.5, "sell": sell}}


@pytest.mark.parametrize(
    "steps",
    [
        [COMBINE, SMOOTH, AVERAGE, threshold("average")],
        [COMBINE, RULES, {"smooth": {"columns": ["rule"], "name": "smooth", "window": 3}}, threshold("smooth")],
        [COMBINE | {"combine": COMBINE["combine"] | {"combine": "larger"}}, AVERAGE, ABSTAIN, threshold("sure")],
        [COMBINE | {"combine": COMBINE["combine"] | {"combine": "difference"}}, threshold("both")],
        [POINTS, threshold("points", sell=0.0)],
    ],
    ids=["smooth", "rules", "abstain", "difference", "points"],
)
def test_symbols_asked_together_have_the_signals_of_each_alone(steps: list[dict[str, Any]]) -> None:
    signals = Signals.model_validate({"predictions": "predict", "steps": steps})
    reads = ["up", "down", "up_low", "up_high"]
    alone, own = [SignalStream(signals) for _ in range(3)], [SignalStream(signals) for _ in range(3)]
    rng = np.random.default_rng(0)
    # Some have lived through bars of their own before they come together.
    for _ in range(3):
        for stream in (alone[1], own[1]):
            stream.update(dict(zip(reads, [0.7, 0.2, 0.5, 0.6], strict=True)))
    rows = SignalRows(own, reads)
    for bar in range(60):
        scores, filled = rng.random((3, 4)), rng.random(3) < 0.2
        if bar % 2:
            # Some stand on the thresholds.
            scores = np.round(4 * scores) / 4
        scores[rng.random((3, 4)) < 0.05] = np.nan
        scores[rng.random((3, 4)) < 0.05] = 0.0
        which = rng.permutation(3)[: 3 if bar % 5 else 2]
        wanted = {
            int(s): alone[s].update(dict(zip(reads, scores[s].tolist(), strict=True)), bool(filled[s])) for s in which
        }
        peeked = [array.tobytes() for array in rows.peek(which, scores[which], filled[which])]
        columns, sides = rows.update(which, scores[which], filled[which])
        assert peeked == [columns.tobytes(), sides.tobytes()] or not rows.is_whole
        for row, side, s in zip(columns, sides.tolist(), which.tolist(), strict=True):
            found = dict(zip(rows.names, row.tolist(), strict=True)) | {
                "buy_signal": side & 1 > 0,
                "sell_signal": side & 2 > 0,
            }
            assert {k: np.float64(v).tobytes() for k, v in found.items()} == {
                k: np.float64(v).tobytes() for k, v in wanted[s].items()
            }
