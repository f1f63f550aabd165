"""Relative features bar by bar equal the table's, also where they divide by nothing."""

import numpy as np
import pyarrow as pa
import pytest
from features.markets import config, market, row

from pipeline.features import feature_names
from pipeline.features.executor import FeatureStream, values


@pytest.mark.parametrize("base", ["next", "last", "prev", "first"])
@pytest.mark.parametrize("kind", ["rel", "diff", "rel_diff"])
@pytest.mark.parametrize("more", [{}, {"percent": True}, {"log": True}], ids=["plain", "percent", "log"])
def test_each_kind_and_base_over_volumes_of_zero(kind: str, base: str, more: dict[str, bool]) -> None:
    volume = {"functions": ["SMA", "MOM"], "inputs": ["volume"], "periods": [2, 3, 7]}
    entries = [{"talib": {**volume, "relative": kind, "relative_base": base, **more}}]
    table = market(200)
    silent = np.where(np.arange(200) // 10 % 2, table["volume"].to_numpy(), 0.0)
    table = table.set_column(table.schema.get_field_index("volume"), "volume", pa.array(silent))
    assert len(feature_names(config(entries))) == 6
    # As computed: rounded to float32, a last bit would not be seen.
    expected = values(config(entries), table, np.float64)
    stream, times = FeatureStream(config(entries), table.slice(0, 20)), table["open_time"].cast(pa.int64()).to_pylist()
    made = np.array([stream.update_exactly(row(table, t), times[t]) for t in range(20, 200)]).T
    both = [np.where(np.isnan(matrix), np.nan, matrix).view(np.uint64) for matrix in (made, expected[:, 20:])]
    assert np.array_equal(*both)
    assert kind == "diff" or more or not np.isfinite(made).all()
