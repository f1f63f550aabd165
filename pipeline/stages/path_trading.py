"""One path of a cross-validation traded: its scores through the signals and the trading core, as `simulate` does."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.artifacts import Layout
from pipeline.config import Config

TRADING = (
    "total_return", "annual_return", "sharpe", "sortino", "calmar", "max_drawdown", "trades", "win_rate",
    "profit_factor", "expectancy", "exposure",
)  # fmt: skip


@dataclass(frozen=True)
class PathLayout(Layout):
    """A config's layout, but that scores and signals are those of one path, in a folder of their own."""

    folder: Path = Path()

    @classmethod
    def of(cls, layout: Layout, folder: Path) -> "PathLayout":
        """The layout of a path whose files lie in `folder`."""
        return cls(**{field.name: getattr(layout, field.name) for field in fields(Layout)}, folder=folder)

    def rolling(self, symbol: str) -> Path:
        return self.folder / "predictions" / f"{symbol}.parquet"

    def signals(self, symbol: str) -> Path:
        return self.folder / "signals" / f"{symbol}.parquet"


def trade_path(config: Config, layout: PathLayout) -> dict[str, Any]:
    """Thresholds and figures of a path whose scores are written; writes its signals. {} if there are no signal steps.

    Raises BadInput: as `signals` and `simulate`.
    """
    from pipeline.stages import signals
    from pipeline.stages.history import read_history
    from pipeline.stages.simulate import trade_headline

    if not config.signals.steps:
        return {}
    config = config.model_copy(update={"signals": config.signals.model_copy(update={"predictions": "rolling"})})
    signals.run(config, layout)
    choice, figures = trade_headline(config, read_history(config, layout))
    thresholds = {"buy": choice.buy, "sell": choice.sell, **choice.variant, "chosen_by": choice.chosen_by}
    return {"thresholds": thresholds, "trading": {name: figures[name] for name in TRADING}}


def distribution(paths: Sequence[dict[str, Any]], scores: Sequence[str]) -> dict[str, Any]:
    """Spread over the paths of each score by model, of those that it has, and of each trading figure."""
    return {
        "scores": {
            name: {
                metric: _spread([path["scores"][name][metric] for path in paths]) for metric in scores if metric in own
            }
            for name, own in paths[0]["scores"].items()
        },
        "trading": {name: _spread([path["trading"][name] for path in paths]) for name in paths[0].get("trading", {})},
    }


def _spread(values: list[float | int | None]) -> dict[str, float | None]:
    from pipeline.evaluation.combinatorial import spread

    return spread(np.array([np.nan if value is None else value for value in values], np.float64))
