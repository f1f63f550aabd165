"""Tries one parameter set on blocks of bars; what sets have in common is computed once and kept by its content.

Two sets that differ in a threshold share features, labels and scores; two that differ in a label share the features.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from filelock import FileLock

from pipeline.artifacts import Layout, read_table, sha256_file, sha256_json, write_table
from pipeline.config import Config
from pipeline.config.meta import second_columns
from pipeline.config.training import Algorithm
from pipeline.errors import BadInput
from pipeline.market import candles
from pipeline.models.samples import Samples
from pipeline.stages.blocks import Block, block_rows
from pipeline.stages.intervals import interval_columns, interval_ends
from pipeline.stages.second_stage import fit_second, second_labels, second_sections
from pipeline.stages.times import iso

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
Span = tuple[int, int]  # [start, stop) in ms


@dataclass(frozen=True)
class BenchLayout(Layout):
    """Features and labels by the hash of what they follow from; scores and signals in a folder of one process."""

    cache: Path = Path()
    work: Path = Path()
    features_key: str = ""
    labels_key: str = ""

    def features(self, symbol: str) -> Path:
        return self.cache / "features" / self.features_key / f"{symbol}.parquet"

    def labels(self, symbol: str) -> Path:
        return self.cache / "labels" / self.labels_key / f"{symbol}.parquet"

    def rolling(self, symbol: str) -> Path:
        return self.work / "rolling" / f"{symbol}.parquet"

    def signals(self, symbol: str) -> Path:
        return self.work / "signals" / f"{symbol}.parquet"


@dataclass(frozen=True)
class Tried:
    """What came of a set on the blocks so far.

    days, returns: of the account, after costs; empty without signals. trades: closed. skill: by score column, the
    share of the loss saved; empty without models.
    """

    blocks: int
    days: Times
    returns: Floats
    trades: int
    total_return: float
    skill: dict[str, float]


class Bench:
    """Where sets are tried.

    layout: whose merged bars are used, all of them. cache: folder of what is kept. work: folder of this process. spans:
    test blocks in time, one after another without a gap. threads: that models are fitted on.
    """

    def __init__(self, layout: Layout, cache: Path, work: Path, spans: Sequence[Span], threads: int) -> None:
        self._own = {field.name: getattr(layout, field.name) for field in fields(Layout)}
        self._merged, self._cache, self._work = layout, cache, work
        self._spans, self._threads = list(spans), threads
        self._data: dict[str, str] = {}
        self._learner: _Learner | None = None

    def tries(self, config: Config) -> Iterator[Tried]:
        """What is known of the set after each block.

        Raises BadInput: the set cannot be computed on these bars.
        """
        from pipeline.stages.chain import learns

        layout = self._layout(config)
        learner = self._learner_of(config, layout) if learns(config) else None
        scores = learner.empty(config) if learner else {}
        for number, (start, stop) in enumerate(self._spans):
            if learner:
                block = Block(number, self._train_start(config, number), start, stop)
                first = Block(0, self._train_start(config, 0), *self._spans[0])
                learner.score(config, block, first, scores)
            yield self._judge(config, layout, learner, scores, number)

    def _train_start(self, config: Config, number: int) -> int:
        length = config.bars(config.predict_rolling.train_length) * config.step_ms
        anchor = 0 if config.predict_rolling.window == "expanding" else number
        return self._spans[anchor][0] - length

    def _layout(self, config: Config) -> BenchLayout:
        from pipeline.features import custom_hashes
        from pipeline.models import bundle
        from pipeline.stages import features
        from pipeline.stages import labels as label_stage

        resolved = config.model_dump(mode="json")
        common = [config.interval, self._bars(config), bundle.code_hash(), bundle.versions()]
        keys = {
            "features": sha256_json([resolved["features"], custom_hashes(config), *common])[:32],
            "labels": sha256_json([resolved["labels"], *common])[:32],
        }
        layout = BenchLayout(
            **self._own, cache=self._cache, work=self._work, features_key=keys["features"], labels_key=keys["labels"]
        )
        for name, stage, path, wanted in (
            ("features", features, layout.features, bool(config.features)),
            ("labels", label_stage, layout.labels, bool(config.labels)),
        ):
            if wanted:
                with FileLock(self._cache / f"{name}-{keys[name]}.lock"):
                    if not all(path(symbol).is_file() for symbol in config.symbols):
                        stage.run(config, layout)
        return layout

    def _bars(self, config: Config) -> list[str]:
        for symbol in config.symbols:
            if symbol not in self._data:
                self._data[symbol] = sha256_file(self._merged.merged(symbol))
        return [self._data[symbol] for symbol in config.symbols]

    def _learner_of(self, config: Config, layout: BenchLayout) -> "_Learner":
        key = _Learner.key(config, layout)
        if self._learner is None or self._learner.own_key != key:
            self._learner = None  # two matrices at a time would not fit
            self._learner = _Learner(config, layout, key, self._cache / "scores", self._threads)
        return self._learner

    def _judge(
        self, config: Config, layout: BenchLayout, learner: "_Learner | None", scores: dict[str, Floats], number: int
    ) -> Tried:
        start, stop = self._spans[0][0], self._spans[number][1]
        found = learner.skill(scores, start, stop) if learner else {}
        if not config.signals.steps:
            return Tried(number + 1, np.empty(0, np.int64), np.empty(0), 0, 0.0, found)
        if learner:
            learner.write(config, layout, scores, start, stop)
        days, returns, trades, total = _trade(_traded(config, start, stop), layout)
        return Tried(number + 1, days, returns, trades, total, found)


def _traded(config: Config, start: int, stop: int) -> Config:
    # The thresholds are those of the set; a grid would choose others.
    source = "features" if config.signals.predictions == "features" else "rolling"
    own = {"start": iso(start), "end": iso(stop), "grid": None, "random_entries": 0, "stress": False}
    return config.model_copy(
        update={
            "signals": config.signals.model_copy(update={"predictions": source}),
            "simulate": config.simulate.model_copy(update=own),
        }
    )


def _trade(config: Config, layout: BenchLayout) -> tuple[Times, Floats, int, float]:
    from pipeline.evaluation.search import returns_by_day
    from pipeline.stages.history import read_history
    from pipeline.stages.signals import signal_table
    from pipeline.trading.rules import rules_of
    from pipeline.trading.simulation import simulate

    for symbol in config.symbols:
        write_table(layout.signals(symbol), signal_table(config, layout, symbol))
    history = read_history(config, layout)
    rules = rules_of(config.simulate, config.interval, config.sizing, config.risk)
    rules = rules._replace(origin_ms=int(history.times[0]), seed=config.seed)
    simulation = simulate(history.market, rules, config.simulate.initial_cash)
    days, returns = returns_by_day(history.times, simulation.equity)
    total = float(simulation.equity[-1] / config.simulate.initial_cash - 1)
    return days, returns, len(simulation.trades), total


class _Learner:
    # Rows of one set of features and labels, and the scores of models that learned from them.
    def __init__(self, config: Config, layout: BenchLayout, key: str, kept: Path, threads: int) -> None:
        from pipeline.features import window_lengths
        from pipeline.stages.samples import feature_columns, label_columns, read_samples

        names, self._labels = feature_columns(config, layout), label_columns(config, layout)
        every = [*self._labels, *second_labels(config)]
        self.samples = read_samples(config, layout, names, every, window_lengths(config))
        self.own_key, self._kept, self._threads = key, kept, threads
        self._binned: dict[str, Any] = {}

    @staticmethod
    def key(config: Config, layout: BenchLayout) -> str:
        train = config.train.model_dump(mode="json", exclude={"algorithms", "selection"})
        judged = second_labels(config)
        return sha256_json([layout.features_key, layout.labels_key, config.symbols, train, judged])

    def columns(self, config: Config) -> dict[str, tuple[str, Algorithm]]:
        """First-stage score columns that the signals read; all of them if there are no signals."""
        every = {f"{label}_{a.name}": (label, a) for label in self._labels for a in config.train.algorithms}
        if not config.signals.steps:
            return every
        ends = interval_ends(config, list(every))
        return {name: every[name] for name in dict.fromkeys(ends.get(read, read) for read in self._reads(config))}

    def _reads(self, config: Config) -> list[str]:
        # Columns that the signals read, ends of intervals among them.
        from pipeline.signals import check_columns

        every = [f"{label}_{a.name}" for label in self._labels for a in config.train.algorithms]
        return check_columns(config.signals, [*every, *interval_ends(config, every)], "the models' scores")

    def empty(self, config: Config) -> dict[str, Floats]:
        """Scores before the first block."""
        names = [*self.columns(config), *second_columns(config)]
        return {name: np.full(len(self.samples.times), np.nan) for name in names}

    def score(self, config: Config, block: Block, first: Block, scores: dict[str, Floats]) -> None:
        """Fill in the block's rows; bins come from the first block's window, as in predict-rolling."""
        test = np.flatnonzero((self.samples.times >= block.start) & (self.samples.times < block.stop))
        columns = self.columns(config)
        paths = {name: self._path(config, *columns[name], block, first) for name in columns}
        missing = []
        for name, path in paths.items():
            if path.is_file():
                scores[name][test] = read_table(path, "optimize", ["score"]).column("score").to_numpy()
            else:
                missing.append(name)
        if not len(test):
            return
        if missing:
            self._fit(config, block, first, missing, test, scores)
            for name in missing:
                write_table(paths[name], pa.table({"score": scores[name][test]}))
        if config.meta is not None:
            self._judge(config, block, first, test, scores)

    def _fit(
        self,
        config: Config,
        block: Block,
        first: Block,
        missing: list[str],
        test: npt.NDArray[np.int64],
        scores: dict[str, Floats],
    ) -> None:
        # The first stage's scores of a block.
        from joblib import Parallel, delayed
        from threadpoolctl import threadpool_limits

        from pipeline.stages.window_fit import select_features

        columns = self.columns(config)
        rows = {columns[name][0]: self._rows(config, columns[name][0], block) for name in missing}
        with threadpool_limits(1, user_api="blas"):
            where = f"block {block.number}"
            chosen = {label: select_features(config, self.samples, label, own, where) for label, own in rows.items()}
            binned = self._binned_by(config, [columns[name][1] for name in missing], first)
            values = Parallel(self._threads, prefer="threads")(
                delayed(_fit_and_score)(
                    config, self.samples, binned.get(columns[name][1].name), *columns[name], rows[columns[name][0]],
                    chosen[columns[name][0]], test, where,
                )
                for name in missing
            )  # fmt: skip
        for name, own in zip(missing, values, strict=True):
            scores[name][test] = own

    def _judge(
        self, config: Config, block: Block, first: Block, test: npt.NDArray[np.int64], scores: dict[str, Floats]
    ) -> None:
        # The second stage of a block, from its own training window, as in predict-rolling.
        path, judged = self._path_of_second(config, block, first), list(second_columns(config))
        if not path.is_file():
            used = [algorithm for _, algorithm in self.columns(config).values()]
            binned = self._binned_by(config, used, first)
            every = [*self._labels, *second_labels(config)]
            allowed = {label: self._rows(config, label, block) for label in every}
            region = (self.samples.times >= block.train_start) & (self.samples.times < block.start)
            alone = config.model_copy(update={"workers": self._threads})
            models = fit_second(alone, self.samples, binned, allowed, region, f"block {block.number}")
            found = {name: np.full(len(test), np.nan) for name in judged}
            for name, judge in models.items():
                before = {read: scores[read][test] for read in judge.reads}
                found[name] = judge.predict_rows(self.samples.features, test, before)
            write_table(path, pa.table(found))
        kept = read_table(path, "optimize", judged)
        for name in judged:
            scores[name][test] = kept.column(name).to_numpy()

    def _binned_by(self, config: Config, algorithms: list[Algorithm], first: Block) -> dict[str, Any]:
        # Datasets by the name of the algorithm; none where features are chosen anew for each fit.
        from pipeline.stages.window_fit import selects

        used = {one.name: one for one in algorithms if one.kind == "lightgbm" and not selects(config)}
        return {name: self._bins(one, first) for name, one in used.items()}

    def _bins(self, algorithm: Algorithm, first: Block) -> Any:
        from pipeline.models.fitting import binned_rows
        from pipeline.models.lightgbm import DATASET_KEYS
        from pipeline.models.parameters import lightgbm_parameters

        shaping = {name: value for name, value in lightgbm_parameters(algorithm).items() if name in DATASET_KEYS}
        key = sha256_json([shaping, first.train_start])
        if key not in self._binned:
            inside = self.samples.trainable & (self.samples.times >= first.train_start)
            past = np.flatnonzero(inside & (self.samples.times < first.start))
            if not len(past):
                raise BadInput("optimize: the first training window has no usable row", "set optimize.start later")
            self._binned = {}  # one at a time
            self._binned[key] = binned_rows(self.samples, [algorithm], past, self._threads)[algorithm.name]
        return self._binned[key]

    def _rows(self, config: Config, label: str, block: Block) -> npt.NDArray[np.int64]:
        return block_rows(self.samples, label, block, config.bars(config.predict_rolling.embargo)).rows

    def _path(self, config: Config, label: str, algorithm: Algorithm, block: Block, first: Block) -> Path:
        embargo = config.bars(config.predict_rolling.embargo)
        what = [
            self.own_key, label, algorithm.model_dump(mode="json"), config.seed, embargo, first.train_start,
            [block.train_start, block.start, block.stop], config.train.selection.model_dump(mode="json"),
        ]  # fmt: skip
        return self._kept / f"{sha256_json(what)[:32]}.parquet"

    def _path_of_second(self, config: Config, block: Block, first: Block) -> Path:
        resolved = config.model_dump(mode="json")
        what = [
            self.own_key, {key: resolved[key] for key in (*second_sections(config), "train")}, config.seed,
            config.bars(config.predict_rolling.embargo), first.train_start,
            [block.train_start, block.start, block.stop],
        ]  # fmt: skip
        return self._kept / f"second-{sha256_json(what)[:32]}.parquet"

    def skill(self, scores: dict[str, Floats], start: int, stop: int) -> dict[str, float]:
        """Share of the loss saved by first-stage column, of rows in [start, stop) whose outcome is known."""
        from pipeline.evaluation.search import skill

        inside = (self.samples.times >= start) & (self.samples.times < stop)
        found = {}
        for name, values in scores.items():
            if (label := name.rpartition("_")[0]) not in self._labels:
                continue
            target = self.samples.targets[label]
            rows = inside & target.known & np.isfinite(values)
            found[name] = skill(target.values[rows], values[rows], target.is_bool)
        return found

    def write(self, config: Config, layout: BenchLayout, scores: dict[str, Floats], start: int, stop: int) -> None:
        """The scores of [start, stop) and the intervals that the signals read, as predict-rolling writes them."""
        ends = interval_ends(config, [name for name in scores if name not in second_columns(config)])
        wanted = list(dict.fromkeys(ends[read] for read in self._reads(config) if read in ends))
        if config.intervals is not None:
            config = config.model_copy(
                update={"intervals": config.intervals.model_copy(update={"models": wanted}) if wanted else None}
            )
        inside = (self.samples.times >= start) & (self.samples.times < stop)
        for number, symbol in enumerate(config.symbols):
            rows = np.flatnonzero(inside & (self.samples.symbols == number))
            own = {name: values[rows] for name, values in scores.items()}
            first = {name: own[name] for name in wanted}
            ranges, _ = interval_columns(config, layout, symbol, self.samples.times[rows], first)
            times = {"open_time": candles.time_array(self.samples.times[rows])}
            write_table(layout.rolling(symbol), pa.table(times | own | ranges))


def _fit_and_score(
    config: Config,
    samples: Samples,
    binned: Any,
    label: str,
    algorithm: Algorithm,
    rows: npt.NDArray[np.int64],
    selected: Any,
    test: npt.NDArray[np.int64],
    where: str,
) -> Floats:
    from pipeline.stages.window_fit import columns_of, fit_window

    model = fit_window(config, samples, binned, label, algorithm, rows, columns_of(selected), where)
    return model.predict_rows(samples.features, test)


def cores(config: Config) -> int:
    """Processes that a config allows."""
    return config.workers or os.cpu_count() or 1
