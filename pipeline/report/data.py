"""What a report is made of: everything loaded, nothing drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Times = npt.NDArray[np.int64]
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bars:
    """One symbol's bars: open times in milliseconds and float64 prices, all [n]."""

    times: Times
    open: Array
    high: Array
    low: Array
    close: Array


@dataclass(frozen=True)
class Curve:
    """Equity through time at a readable number of points [n]; `drawdown` is the worst since the point before."""

    times: Times
    equity: Array
    drawdown: Array
    hold: Array


@dataclass(frozen=True)
class ModelScores:
    """One model's scores and what came true, over all symbols; NaN where either is unknown.

    All models of a report have the same rows. boolean: the label is yes or no, and the score a
    probability. volatility: of the day before, at each row; NaN where not known yet.
    """

    name: str
    label: str
    algorithm: str
    boolean: bool
    outcome: Array
    score: Array
    volatility: Array

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Rows with a score and an outcome."""
        return np.asarray(np.isfinite(self.outcome) & np.isfinite(self.score))


@dataclass(frozen=True)
class ShadowRun:
    """What `pipeline serve` did in shadow. rehearsed: on a local exchange. trades: rows of the contract's table.

    trained_until_ms: end of the bars that its models learned from. latency_ms: median of its decisions.
    """

    rehearsed: bool
    bundle: str
    first_ms: int
    last_ms: int
    bars: int
    late: int
    first_equity: float
    last_equity: float
    latency_ms: float
    trades: Sequence[Mapping[str, Any]]
    trained_until_ms: int | None = None


@dataclass(frozen=True)
class ReportData:
    """Inputs of a report. What is None or empty was not there; its section says what to run.

    metrics, folds, paths, gaps, manifest: the JSON artifacts. candles: each symbol's bars, few enough to draw, and how
    long each lasts, in words. trades, grid: the contract's tables. scores_from: 'walk-forward', 'held out' or
    'in sample': what the rows of `scores` were to their models. traded_on: whose scores the signals are made of.
    direction: pairs of score columns, up and down, that the strategy weighs against each other. config_yaml: as
    resolved, defaults included. synthetic: the market is made up, and nobody may take it for the symbol's.
    """

    title: str
    command: str
    metrics: Mapping[str, Any]
    trades: pa.Table
    curve: Curve
    candles: Mapping[str, tuple[Bars, str]]
    grid: pa.Table | None = None
    scores: Sequence[ModelScores] = ()
    scores_from: str = "walk-forward"
    traded_on: str = "walk-forward scores"
    direction: Sequence[tuple[str, str]] = ()
    folds: Mapping[str, Any] | None = None
    manifest: Mapping[str, Any] | None = None
    gaps: Mapping[str, Any] | None = None
    config_yaml: str = ""
    hashes: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    images: Sequence[str] = ()
    synthetic: bool = False
    paths: Mapping[str, Any] | None = None
    shadow: ShadowRun | None = None

    def stage(self, name: str) -> str:
        """The command that runs another stage of the same config."""
        return self.command.replace("output", name, 1)

    @property
    def learnt(self) -> bool:
        """Whether the signals come from models."""
        return not self.traded_on.startswith("rules")

    @property
    def split_ms(self) -> int | None:
        """First millisecond of the evaluation part, if there are two parts."""
        from pipeline.report.text import parse_ms

        return parse_ms(self.metrics["split_time"]) if self.metrics.get("split_time") else None
