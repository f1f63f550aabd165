"""Scores of a bar's features, and of a table of them, as the signals' steps read them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.config import Config, utc_ms
from pipeline.config.meta import second_columns
from pipeline.errors import BadInput
from pipeline.live.intervals import LaneIntervals, interval_names, models_read
from pipeline.live.scoring import ModelScores, is_finite, row_scorer
from pipeline.market import candles
from pipeline.models.bundle import Bundle
from pipeline.models.second import SecondModel
from pipeline.signals import check_columns

Floats = npt.NDArray[np.float64]


class RowScores:
    """Features → what the signals' steps read: scores of the models, or the features themselves.

    bundle: None if the steps read features. names: of the features, in the order of the rows.
    reads: columns that the steps read. names: they, and what second models say.
    Raises BadInput: the bundle does not fit the config.
    """

    def __init__(self, config: Config, bundle: Bundle | None, names: list[str]) -> None:
        self._bundle = bundle if config.signals.predictions != "features" else None
        self._judges: dict[str, SecondModel] = {}
        self._ranges: tuple[Config, Bundle, list[str]] | None = None
        self._start_ms = utc_ms(config.predict.start) if self._bundle and config.predict.start else None
        if config.signals.predictions == "features":
            self.reads = check_columns(config.signals, names, "the features")
            self._places = np.array([names.index(name) for name in self.reads])
            self.names = list(self.reads)
            return
        if bundle is None:
            raise BadInput("the signals read scores, and no bundle is given", "run `pipeline train` first")
        if bundle.manifest["interval"] != config.interval:
            raise BadInput(f"the bundle learned from {bundle.manifest['interval']} bars, not {config.interval} bars")
        for name in bundle.features:
            if name not in names:
                raise BadInput(f"the bundle wants a feature '{name}', which the config does not make")
        ranged = interval_names(config, bundle)
        available = [*bundle.models, *(f"{name}{end}" for name in ranged for end in ("_low", "_high"))]
        columns = check_columns(config.signals, available, "the bundle")
        self.reads = models_read(columns, ranged)
        self._ranges = (config, bundle, columns) if columns != self.reads else None
        self._places = np.array([names.index(name) for name in bundle.features])
        self._models = {name: bundle.models[name] for name in self.reads}
        self._rows = ModelScores(list(self._models.values()), self._places)
        for name in second_columns(config) if config.sizing.probability else ():
            if name not in bundle.second or not set(bundle.second[name].reads) <= set(self.reads):
                raise BadInput(
                    f"the bundle has no '{name}' for these signals, and sizing.probability reads it",
                    "run `pipeline train` again",
                )
            self._judges[name] = bundle.second[name]
        self.names = [*self.reads, *self._judges]
        self._judge_rows = {
            name: row_scorer(judge.model, len(self._places) + len(judge.reads)) for name, judge in self._judges.items()
        }

    def intervals(self) -> LaneIntervals | None:
        """A new lane's, if the signals read any."""
        return None if self._ranges is None else LaneIntervals(*self._ranges)

    def arrays(self, open_time_ms: int) -> list[np.ndarray] | None:
        """Trees, and the features that they need, as `walk` takes them; of no trees if the features are the scores.

        None if there is more to the scores of a time.
        """
        if self._bundle is None:
            none = np.zeros(0, np.int64)
            return [none.view(np.float64), none, none, none.view(np.float64), self._places]
        is_early = self._start_ms is not None and open_time_ms < self._start_ms
        if self._judges or self._ranges is not None or self._rows.trees is None or is_early:
            return None
        return [*self._rows.trees.arrays(), self._places]

    def move(self, arrays: Sequence[np.ndarray]) -> None:
        """Go on with copies of `arrays`."""
        *trees, self._places = arrays
        if self._bundle is not None and self._rows.trees is not None:
            self._rows.trees.move(trees)

    def one(self, features: npt.NDArray[np.float32], open_time_ms: int) -> dict[str, float]:
        """Scores of one bar's features [k]; not numbers where a feature is not."""
        return dict(zip(self.names, self.rows(features[None], open_time_ms)[0].tolist(), strict=True))

    def rows(self, features: npt.NDArray[np.float32], open_time_ms: int) -> Floats:
        """`one` of bars of one time, features [n, k], as columns `names`, float64 [n, len(names)]."""
        if self._bundle is None:
            return features[:, self._places].astype(np.float64)
        if self._start_ms is not None and open_time_ms < self._start_ms:
            return np.full((len(features), len(self.names)), np.nan)
        scores = self._rows(features)
        return self._judged(features, scores) if self._judges else scores

    def _judged(self, features: npt.NDArray[np.float32], scores: Floats) -> Floats:
        result = np.full((len(features), len(self.names)), np.nan)
        result[:, : len(self.reads)] = scores
        for r, own in enumerate(scores):
            row = features[r].take(self._places)
            if not is_finite(row):
                continue
            known = dict(zip(self.reads, own.tolist(), strict=True))
            for place, (name, judge) in enumerate(self._judges.items(), len(self.reads)):
                first = np.array([known[read] for read in judge.reads], np.float32)
                result[r, place] = self._judge_rows[name](np.concatenate([row, first]))
        return result

    def over(self, table: pa.Table) -> dict[str, Floats]:
        """Scores of a table of features, open_time first; the same bits as row by row."""
        names = table.column_names[1:]
        columns = [table.column(names[place]).to_numpy() for place in self._places]
        if self._bundle is None:
            return {name: column.astype(np.float64) for name, column in zip(self.reads, columns, strict=True)}
        matrix = np.array(columns, np.float32)
        usable = np.isfinite(matrix).all(axis=0)
        if self._start_ms is not None:
            usable &= candles.times_ms(table) >= self._start_ms
        rows = np.flatnonzero(usable)
        result = {}
        for name, model in self._models.items():
            result[name] = np.full(table.num_rows, np.nan)
            result[name][rows] = model.predict_rows(matrix.T, rows)
        for name, judge in self._judges.items():
            result[name] = np.full(table.num_rows, np.nan)
            result[name][rows] = judge.predict_rows(matrix.T, rows, {read: result[read][rows] for read in judge.reads})
        return result
