"""LightGBM on rows that are binned once and shared by all labels, horizons and folds."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.lean import empty, without

_TABLES = ("scipy", "scipy.sparse", "narwhals", "narwhals.dependencies", "narwhals.typing")
with without("pandas", "sklearn", "dask", "matplotlib"), empty(*_TABLES):
    import lightgbm as lgb

LightGBMError = lgb.basic.LightGBMError
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# Parameters of the binned data rather than of the fit; algorithms that agree on them share one dataset.
DATASET_KEYS = ("max_bin", "max_bin_by_feature", "min_data_in_bin", "bin_construct_sample_cnt", "data_random_seed")
# Deterministic, quiet, and one thread a fit: folds and labels are what runs in parallel, and the result
# does not depend on how many cores there are.
_FIXED = {"deterministic": True, "num_threads": 1, "verbosity": -1}
# Row-wise histograms are a fifth faster but keep a second copy of the bins for each fit; from this many values
# on (300 MB a fit on five years of minutes) columns are the better bargain. By size, so that runs repeat.
_COL_WISE_FROM = 1 << 26
_PREDICT_ROWS = 1 << 17
_BIN_ROWS = 200_000  # LightGBM's own sample size, bin_construct_sample_cnt


class _Silent:
    # The library prints what it raises as well.
    def info(self, text: str) -> None:
        pass

    def warning(self, text: str) -> None:
        pass


lgb.register_logger(_Silent())


def aliases() -> dict[str, list[str]]:
    """Main name of each parameter → its other names."""
    return lgb.basic._ConfigAliases._get_all_param_aliases()


def reason(error: LightGBMError) -> str:
    """What LightGBM complains of, without the place in its sources."""
    return str(error).split(" at /")[0].strip()


class BinnedRows:
    """Feature rows, binned once.

    features: float32 [n, k]. names: of the columns. params: the algorithm's; those that shape bins are used.
    past: rows that bins are made from; bins over all rows would look ahead. All rows if None.
    threads: for binning only, which does not depend on it.
    """

    def __init__(
        self,
        features: npt.NDArray[np.float32],
        names: list[str],
        params: dict[str, Any],
        past: Indices | None = None,
        threads: int = 0,
    ) -> None:
        settings = {"feature_pre_filter": False, "verbosity": -1, "num_threads": threads}
        settings["force_col_wise" if features.size >= _COL_WISE_FROM else "force_row_wise"] = True
        settings |= {key: params[key] for key in DATASET_KEYS if key in params}
        label = np.zeros(len(features), np.float32)
        reference = None
        if past is not None and len(past) < len(features):
            # Bins are made from a sample in any case; a stride keeps a second copy of the rows small.
            past = past[:: -(-len(past) // _BIN_ROWS)]
            reference = lgb.Dataset(features[past], label[past], feature_name=names, params=settings).construct()
        self._rows = lgb.Dataset(features, label, reference, feature_name=names, params=settings).construct()
        self._settings = settings

    def fit(
        self,
        rows: Indices,
        y: Floats,
        *,
        classification: bool,
        rounds: int,
        params: dict[str, Any],
        seed: int,
        balanced: bool = False,
        weights: Floats | None = None,
        validation: tuple[Indices, Floats] | None = None,
        early_stopping: int | None = None,
    ) -> lgb.Booster:
        """Train on some of the rows.

        rows: ascending positions [m]. y: their labels [m]. weights: of the rows [m]. validation: rows and labels to
        stop early on.
        Raises lightgbm.basic.LightGBMError: a parameter is refused.
        """
        own = {key: value for key, value in params.items() if key not in DATASET_KEYS}
        settings = {"objective": "binary" if classification else "regression", "seed": seed} | own | _FIXED
        layout = ("force_col_wise", "force_row_wise")
        settings |= {key: self._settings[key] for key in (*DATASET_KEYS, *layout) if key in self._settings}
        settings["feature_pre_filter"] = False
        train = self._subset(rows, y, balanced, weights)
        if validation is None or early_stopping is None:
            return lgb.train(settings, train, rounds)
        held_out = self._subset(*validation, balanced=False)
        stop = lgb.early_stopping(early_stopping, first_metric_only=True, verbose=False)
        return lgb.train(settings, train, rounds, valid_sets=[held_out], callbacks=[stop])

    def _subset(self, rows: Indices, y: Floats, balanced: bool, weights: Floats | None = None) -> lgb.Dataset:
        # LightGBM keeps the number of threads in one variable of the process. If a part were cut out with another one
        # while a fit begins beside it, the fit would write past the end of what it has set up for each thread.
        settings = self._settings | {"num_threads": _FIXED["num_threads"]}
        part = self._rows.subset(rows.astype(np.int32), settings)  # type: ignore[arg-type]
        part.construct()
        part.set_label(y.astype(np.float32))
        if balanced:
            share = float(y.mean() if weights is None else np.average(y, weights=weights))
            classes = np.where(y > 0, 0.5 / share, 0.5 / (1 - share))
            weights = classes if weights is None else classes * weights
        if weights is not None:
            part.set_weight(weights.astype(np.float32))
        return part


def predict(booster: lgb.Booster, features: npt.NDArray[np.float32], threads: int = 1) -> Floats:
    """Scores [n] of feature rows [n, k]; the same bits for one row as for many."""
    result = np.empty(len(features))
    for start in range(0, len(features), _PREDICT_ROWS):
        part = np.ascontiguousarray(features[start : start + _PREDICT_ROWS])
        result[start : start + len(part)] = booster.predict(part, num_threads=threads)
    return result


def importance(booster: lgb.Booster) -> dict[str, float]:
    """Share of the total gain of each feature, largest first; features that are not used have 0."""
    gain = booster.feature_importance("gain")
    total = float(gain.sum()) or 1.0
    shares = {name: float(g) / total for name, g in zip(booster.feature_name(), gain, strict=True)}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))
