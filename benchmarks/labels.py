"""highlow2 over a year of minutes against the ancestor's algorithm, compiled and plain.

The ancestor rolls a window over the reversed close and price columns (pandas, method="table", its numba
engine), takes the first crossing in each, and compares the two crossings row by row with DataFrame.apply.
Its window functions are compiled anew for each label; what its rows take without that is the difference between a
longer and a shorter sample, and scaled to all; ours is timed on all. The plain way is the algorithm as it describes
itself, a scan of each row's window: numpy looks for the first crossing in the next bars, timed on a sample and scaled.
"""

import time

import numpy as np
import pandas as pd
from market import year_of_minutes
from measure import best_of, record, report

from pipeline.config.labels import HighLow2
from pipeline.labels import high_low2
from pipeline.market import candles

SAMPLE, LONGER, PLAIN = 20_000, 120_000, 50_000


def crossing(frame: pd.DataFrame, price: str, horizon: int, threshold: float) -> pd.Series:
    """Offset of the first of the next bars beyond close·(1 + threshold/100), NaN if there is none."""
    factor, above = 1 + threshold / 100, threshold > 0

    def first(window: np.ndarray) -> float:
        # The window is reversed: its last row is the newest that the ancestor sees, its base row the last.
        level = window[-1, 0] * factor
        for k in range(1, window.shape[0]):
            value = window[-1 - k, 1]
            if (value > level) if above else (value < level):
                return np.array([float(k), 0.0])
        return np.array([np.nan, 0.0])

    rolled = frame[["close", price]].iloc[::-1].rolling(horizon + 1, min_periods=2, method="table")
    return rolled.apply(first, raw=True, engine="numba").iloc[::-1].iloc[:, 0]


def ancestor(frame: pd.DataFrame, horizon: int, up: float, down: float) -> np.ndarray:
    """The label of each row of a frame with close, high and low."""
    both = pd.DataFrame(
        {"first": crossing(frame, "high", horizon, up), "second": crossing(frame, "low", horizon, down)}
    )

    def earlier(row: np.ndarray) -> bool:
        return bool(not np.isnan(row[0]) and (np.isnan(row[1]) or row[0] <= row[1]))

    return both.apply(earlier, raw=True, axis=1).to_numpy()


def plain(
    close: np.ndarray, high: np.ndarray, low: np.ndarray, rows: int, horizon: int, up: float, down: float
) -> list:
    """The label of each of the first rows, window by window."""
    labels = []
    for t in range(rows):
        above = high[t + 1 : t + 1 + horizon] > close[t] * (1 + up / 100)
        below = low[t + 1 : t + 1 + horizon] < close[t] * (1 + down / 100)
        first, second = above.argmax(), below.argmax()
        labels.append(bool(above[first] and (not below[second] or first <= second)))
    return labels


def main() -> None:
    table = year_of_minutes()
    close, high, low = (candles.column(table, name) for name in ("close", "high", "low"))
    for horizon, threshold, limit in ((120, 2.0, 30), (1440, 5.0, 80)):
        spec = HighLow2(thresholds=[threshold], tolerance=0.2, horizon=horizon, tie="success")
        ours = best_of(lambda spec=spec, horizon=horizon: high_low2.compute(spec, horizon, close, high, low))
        frame = pd.DataFrame({"close": close, "high": high, "low": low})
        ancestor(frame.iloc[: horizon + 50], horizon, threshold, -0.2 * threshold)  # imports numba
        taken = {}
        for rows in (SAMPLE, LONGER):
            start = time.perf_counter()
            theirs = ancestor(frame.iloc[: rows + horizon], horizon, threshold, -0.2 * threshold)[:SAMPLE]
            taken[rows] = time.perf_counter() - start
        peer = (taken[LONGER] - taken[SAMPLE]) / (LONGER - SAMPLE) * len(close)
        start = time.perf_counter()
        scanned = plain(close, high, low, PLAIN, horizon, threshold, -0.2 * threshold)
        by_window = (time.perf_counter() - start) / PLAIN * len(close)
        label = high_low2.compute(spec, horizon, close, high, low)[0]
        differ = int((theirs != label.values[:SAMPLE])[label.known[:SAMPLE]].sum())
        per_row = ours / len(close) * 1e9
        print(f"h = {horizon}: {per_row:.1f} ns a row (goal ≤ {limit}); {differ} of {SAMPLE} labels differ")
        differ = int((np.array(scanned) != label.values[:PLAIN])[label.known[:PLAIN]].sum())
        print(f"h = {horizon}: {differ} of {PLAIN} labels of the plain scan differ")
        record("labels", {"name": f"ns a row, h = {horizon}", "ours": per_row, "goal": limit, "unit": "ns"})
        as_run = taken[SAMPLE] + peer * (1 - SAMPLE / len(close))
        for than, peer_seconds, of in (
            ("", peer, "the ancestor's way, its compilation left out"),
            (" than as it runs", as_run, "the same, compiled anew for the label"),
            (" than plain", by_window, "a scan of each window, numpy"),
        ):
            name = f"highlow2, h = {horizon}, times faster{than}"
            report(name, 1 / ours, 1 / peer_seconds, 1000, True, unit="1/s", of=of)


if __name__ == "__main__":
    main()
