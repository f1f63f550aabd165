"""A stand-in for the ancestor's chain: its stages as it describes them, written anew, timed beside ours by `chain.py`.

    python benchmarks/ancestor.py STAGE FOLDER [BARS]

What it is: the batch work of asavinov/intelligent-trading-bot from its scripts' documented behaviour, one process a
stage, whole pandas frames in Parquet between them (its seconds leave no room for its CSV). TA-Lib is called on Series;
a label is a rolling window over a table of two columns with pandas' numba engine, for each of two prices, then a
comparison row by row with DataFrame.apply; a fit takes all rows of a label to LightGBM with its settings (32 leaves, a
leaf of at least 1 % of the rows, unbalanced classes, cross entropy) and our number of rounds, bins included; `train`
and `predict` score all rows with five of scikit-learn's metrics; rolling fits each label of each step from scratch;
the simulation goes from row to row.

What it is not: its code, its command line, its configuration, its notifiers, or its imports of what a stage does not
use (TensorFlow, plots, exchange clients, dates in words). It stops a window's scan at the first crossing, where the
ancestor looks at all of it. Both make it faster than the original, if anything.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn import metrics

LABELS = {"high_20": ("high", "low", 2.0), "low_20": ("low", "high", -2.0)}
TOLERANCE, HORIZON = 0.2, 120
WINDOWS = {"SMA": [5, 10, 15, 60], "LINEARREG_SLOPE": [5, 10, 15, 30, 60], "STDDEV": [5, 10, 15, 30, 60]}
FEATURES = [f"close_{function}_{window}" for function, windows in WINDOWS.items() for window in windows]
ROUNDS = 50
FIRST, LENGTH, SIZE, STEPS = pd.Timestamp("2018-12-04", tz="UTC"), 300 * 1440, 10_080, 4
KEPT = ["timestamp", "open", "high", "low", "close", "volume"]


def merge(folder: Path, bars: str) -> None:
    """The bars on a complete grid of minutes."""
    frame = pd.read_parquet(bars)
    frame.index = pd.to_datetime(frame.pop("open_time"), unit="ms", utc=True)
    frame = frame[~frame.index.duplicated()]
    grid = pd.date_range(frame.index[0], frame.index[-1], freq="min", name="timestamp")
    merged = pd.DataFrame(index=grid).join(frame).interpolate()
    merged.reset_index().to_parquet(folder / "data.parquet", index=False)


def features(folder: Path) -> None:
    """14 columns by TA-Lib, joined to the bars."""
    import talib

    frame = pd.read_parquet(folder / "data.parquet")
    for function, windows in WINDOWS.items():
        part = frame[frame.columns.to_list()]
        close = part["close"].interpolate()
        made = pd.DataFrame(
            {f"close_{function}_{window}": getattr(talib, function)(close, timeperiod=window) for window in windows}
        )
        frame = frame.join(made)
    print(frame[FEATURES].isnull().sum().sort_values(ascending=False))
    frame.to_parquet(folder / "features.parquet", index=False)


def labels(folder: Path) -> None:
    """Two `highlow2` labels, joined to bars and features."""
    frame = pd.read_parquet(folder / "features.parquet")
    for name, (price, other, threshold) in LABELS.items():
        first = crossing(frame, price, threshold)
        second = crossing(frame, other, -TOLERANCE * threshold)
        both = pd.DataFrame({"first": first, "second": second})
        frame[name] = both.apply(_earlier, raw=True, axis=1)
    frame.to_parquet(folder / "matrix.parquet", index=False)


def crossing(frame: pd.DataFrame, price: str, threshold: float) -> pd.Series:
    """How many bars later the price first crosses close·(1 + threshold/100); NaN if not within the horizon."""
    factor, above = 1 + threshold / 100, threshold > 0

    def first(window: np.ndarray) -> np.ndarray:
        # A window over a table yields a value for each of its columns; the first one's is taken.
        level = window[0, 0] * factor
        for k in range(1, window.shape[0]):
            value = window[k, 1]
            if (value > level) if above else (value < level):
                return np.array([float(k), 0.0])
        return np.array([np.nan, 0.0])

    rolled = frame[["close", price]].rolling(HORIZON + 1, min_periods=HORIZON // 2, method="table")
    return rolled.apply(first, raw=True, engine="numba").iloc[:, 0].shift(-HORIZON)


def _earlier(pair: np.ndarray) -> bool:
    if np.isnan(pair[0]):
        return False
    return bool(np.isnan(pair[1]) or pair[0] <= pair[1])


def train(folder: Path) -> None:
    """A model a label on all rows; its scores on the rows it has learned from; all predictions."""
    from joblib import dump

    frame = _samples(folder).iloc[:-HORIZON]
    scores, out = {}, pd.DataFrame()
    for label in LABELS:
        model = _fit(frame[FEATURES], frame[label])
        out[label + "_gb"] = _predict(model, frame[FEATURES])
        scores[label] = _scores(frame[label], out[label + "_gb"])
        dump(model, folder / f"{label}_gb.pickle")
    print(scores)
    out.join(frame[KEPT + list(LABELS)]).to_parquet(folder / "predictions.parquet", index=False)


def predict(folder: Path) -> None:
    """The models' scores of all rows."""
    from joblib import load

    frame = _samples(folder)
    scores, out = {}, pd.DataFrame(index=frame.index)
    for label in LABELS:
        out[label + "_gb"] = _predict(load(folder / f"{label}_gb.pickle"), frame[FEATURES])
        scores[label] = _scores(frame[label], out[label + "_gb"])
    print(scores)
    out.join(frame[KEPT + list(LABELS)]).to_parquet(folder / "predictions.parquet", index=False)


def predict_rolling(folder: Path) -> None:
    """Four steps of a week, each predicted by models of the 300 days before it, one fit after another."""
    frame = _samples(folder)
    start = int((frame["timestamp"] >= FIRST).argmax())
    parts = []
    for step in range(STEPS):
        first = start + step * SIZE
        test, past = frame.iloc[first : first + SIZE], frame.iloc[: first - HORIZON - 1].tail(LENGTH)
        part = pd.DataFrame(index=test.index)
        for label in LABELS:
            part[label + "_gb"] = _predict(_fit(past[FEATURES], past[label]), test[FEATURES])
        parts.append(part)
    out = pd.concat(parts).join(frame[KEPT + list(LABELS)])
    print({label: _scores(out[label], out[label + "_gb"]) for label in LABELS})
    out.to_parquet(folder / "predictions.parquet", index=False)


def signals(folder: Path) -> None:
    """Up less down, and a threshold on either side."""
    frame = pd.read_parquet(folder / "predictions.parquet")
    frame["trade_score"] = frame["high_20_gb"] - frame["low_20_gb"]
    frame["buy_signal_column"] = frame["trade_score"] >= 0.05
    frame["sell_signal_column"] = frame["trade_score"] <= -0.05
    print(frame["trade_score"].describe())
    frame.to_parquet(folder / "signals.parquet", index=False)


def simulate(folder: Path) -> None:
    """Buy at the close of a buy signal, sell at that of the next sell signal, row by row."""
    frame = pd.read_parquet(folder / "signals.parquet")
    bought, trades = 0.0, []
    rows = frame[["buy_signal_column", "sell_signal_column", "close"]]
    for _, buy, sell, price in rows.itertuples(name=None):
        if not price or pd.isnull(price):
            continue
        if not bought and buy:
            bought = price
        elif bought and sell:
            trades.append(100 * (price - bought) / bought)
            bought = 0.0
    (folder / "performance.txt").write_text(f"{len(trades)} trades, {sum(trades):.1f} %\n")


def _samples(folder: Path) -> pd.DataFrame:
    frame = pd.read_parquet(folder / "matrix.parquet")
    frame = frame[[*KEPT, *FEATURES, *LABELS]]
    for label in LABELS:
        frame[label] = frame[label].astype(int)
    frame = frame.replace([np.inf, -np.inf], np.nan).dropna(subset=FEATURES)
    return frame.reset_index(drop=True)


def _fit(rows: pd.DataFrame, label: pd.Series) -> object:
    import lightgbm as lgb

    settings = {
        "objective": "cross_entropy",
        "metric": {"cross_entropy"},
        "num_leaves": 32,
        "min_data_in_leaf": int(0.01 * len(rows)),
        "is_unbalance": True,
        "verbosity": -1,
    }
    return lgb.train(settings, lgb.Dataset(rows.values, label.values), ROUNDS)


def _predict(model: object, rows: pd.DataFrame) -> pd.Series:
    finite = rows.dropna()
    known = pd.Series(model.predict(finite.values), index=finite.index)
    return pd.DataFrame({"score": known}, index=rows.index)["score"]


def _scores(label: pd.Series, score: pd.Series) -> dict[str, float]:
    yes = np.where(score.values > 0.5, 1, 0)
    made = {
        "auc": metrics.roc_auc_score(label, score.fillna(0)),
        "ap": metrics.average_precision_score(label, score.fillna(0)),
        "f1": metrics.f1_score(label, yes),
        "precision": metrics.precision_score(label, yes, zero_division=0),
        "recall": metrics.recall_score(label, yes),
    }
    return {name: round(float(value), 4) for name, value in made.items()}


STAGES: dict[str, Callable[..., None]] = {
    "merge": merge,
    "features": features,
    "labels": labels,
    "train": train,
    "predict": predict,
    "predict-rolling": predict_rolling,
    "signals": signals,
    "simulate": simulate,
}

if __name__ == "__main__":
    if sys.argv[1] != "merge":
        # The ancestor's stages share one module that imports whatever any of them needs.
        import lightgbm  # noqa: F401
        import scipy.stats  # noqa: F401
        import talib  # noqa: F401
    STAGES[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
