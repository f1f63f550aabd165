"""What the leak detector looks at: the files of a config, and how much of them is made again."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.artifacts import Layout, read_json, read_schema, read_table
from pipeline.config import Config, interval_ms
from pipeline.market import candles
from pipeline.stages.chain import learns


@dataclass(frozen=True)
class Effort:
    """How much is made again.

    prefixes, noises: whole tables, each cut elsewhere. folds: of the walk-forward that are fitted again. windows:
    single rows made from their window alone. custom_windows: likewise of custom features, each in a world of its own.
    spans, streamed: restarts of the online features, and bars after each. signal_rows: bars of streamed signals.
    shuffles: rounds of shuffled labels. training_bars, test_bars: of each.
    """

    prefixes: int
    noises: int
    folds: int
    windows: int
    custom_windows: int
    spans: int
    streamed: int
    signal_rows: int
    shuffles: int
    training_bars: int
    test_bars: int


FAST = Effort(1, 2, 1, 30, 10, 2, 150, 2_000, 2, 12_000, 6_000)
FULL = Effort(3, 3, 2, 300, 60, 4, 1_500, 20_000, 3, 20_000, 20_000)


class Kept:
    """What the stages have written for a config: the values that everything made again is compared with."""

    def __init__(self, config: Config, layout: Layout) -> None:
        from pipeline.features import feature_names
        from pipeline.labels import label_names

        self.config, self.layout = config, layout
        self._known_from: dict[str, int] = {}
        self.labelled, self.learns = bool(config.labels), learns(config)
        self.features = _columns(layout, config, "features", feature_names(config))
        self.labels = list(label_names(config))
        self.source = config.signals.predictions
        self.signals = [n for n in read_schema(layout.signals(config.symbols[0]), "signals").names if n != "open_time"]
        for symbol in config.symbols:
            read_schema(layout.merged(symbol), "merge")
            read_schema(layout.signals(symbol), "signals")
            if self.labelled:
                read_schema(layout.labels(symbol), "labels")
            if self.source == "rolling":
                read_schema(layout.rolling(symbol), "predict-rolling")
        read_json(layout.simulation / "metrics.json", "simulate")
        self.rolling = self.learns and all(layout.rolling(symbol).is_file() for symbol in config.symbols)
        self.predicted = self.learns and all(layout.predictions(symbol).is_file() for symbol in config.symbols)
        self.bundle = self.learns and (layout.trained / "manifest.json").is_file()
        self.folds = read_json(layout.folds, "predict-rolling") if self.rolling else None

    def bars(self, symbol: str) -> pa.Table:
        return read_table(self.layout.merged(symbol), "merge")

    def known_by(self, cut_ms: int) -> Config:
        """The config with those symbols alone that have a bar with all features by a time: others cannot be made."""
        known = [s for s in self.config.symbols if self._first_known(s) + self.config.step_ms <= cut_ms]
        return self.config.model_copy(update={"symbols": known})

    def _first_known(self, symbol: str) -> int:
        # Open time of the first bar at which every feature that the models learn from is known.
        from pipeline.stages.samples import feature_columns

        if symbol not in self._known_from:
            names = feature_columns(self.config, self.layout) if self.learns else self.features
            path = self.layout.features(symbol)
            times = candles.times_ms(read_table(path, "features", ["open_time"]))
            complete = np.ones(len(times), bool)
            for name in names:
                complete &= np.isfinite(candles.column(read_table(path, "features", [name]), name))
            self._known_from[symbol] = int(times[complete.argmax()])
        return self._known_from[symbol]

    def predictions(self, symbol: str) -> tuple[str, pa.Table]:
        """The stage that the signals' scores come from, and its table."""
        if self.source == "features":
            return "features", read_table(self.layout.features(symbol), "features")
        if self.source == "rolling":
            return "predict-rolling", read_table(self.layout.rolling(symbol), "predict-rolling")
        return "predict", read_table(self.layout.predictions(symbol), "predict")


def _columns(layout: Layout, config: Config, stage: str, made: list[str]) -> list[str]:
    # What the config makes, and what else is in the files: nobody can say how that came to be.
    names = dict.fromkeys(made)
    for symbol in config.symbols:
        names |= dict.fromkeys(n for n in read_schema(layout.features(symbol), stage).names if n != "open_time")
    return list(names)


def cut_times(kept: Kept, count: int, seed: int, in_gap: bool) -> list[int]:
    """Close times to cut the bars at, in the last half: the first where leaks like to show, the others at random.

    in_gap: the first lies in a gap, where what is filled in from behind needs the next real bar (without any later bar
    the table would end before the gap, and show nothing); otherwise at a bar without volume. Never at the close of a
    higher bar: one that is still open has to be seen.
    """
    from pipeline.features import lookback_bars

    config = kept.config
    bars = kept.bars(config.symbols[0])
    times, filled = candles.times_ms(bars), bars.column("is_filled").to_numpy()
    scored = max(int(candles.times_ms(kept.predictions(symbol)[1])[0]) for symbol in config.symbols)
    least = max(lookback_bars(config), len(times) // 2, int(np.searchsorted(times, scored)) + 20)
    rows = np.arange(min(least, len(times) - 3), len(times) - 2)
    empty = filled if in_gap else (candles.column(bars, "volume") == 0) & ~filled
    special = rows[empty[rows]]
    rng = np.random.default_rng(seed)
    chosen = [*rng.permutation(special)[:1].tolist(), *rng.choice(rows, min(count, len(rows)), replace=False).tolist()]
    frames = [frame for e in config.features if (frame := getattr(e.spec, "timeframe", None))]
    higher = [interval_ms(frame) for frame in [*frames, *config.merge.timeframes]]
    result = []
    for row in dict.fromkeys(chosen[:count]):
        close = int(times[row]) + config.step_ms
        while any(close % frame == 0 for frame in higher) and close < times[-1]:
            close += config.step_ms
        result.append(close)
    return result


def scratch() -> "Scratch":
    """A folder for a world, gone when the block ends."""
    return Scratch(prefix="verify-")


class Scratch(tempfile.TemporaryDirectory):  # type: ignore[type-arg]
    """A temporary folder that is given as a path."""

    def __enter__(self) -> Path:  # type: ignore[override]
        return Path(super().__enter__()).resolve()
