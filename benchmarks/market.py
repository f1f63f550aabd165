"""A year of real minutes, filled to a complete grid: what the speed figures are measured on."""

import pyarrow as pa
import pyarrow.parquet as pq
from measure import real_data

from pipeline.config import utc_ms
from pipeline.market import cleaning, grid


def year_of_minutes() -> pa.Table:
    """Bitcoin 2018 in 1-minute bars, 525,600 rows with `is_filled`."""
    path = real_data() / "bitfinex/BTCUSD_1m_2018.parquet"
    bars = cleaning.clean(pq.ParquetFile(path).read(), "1m", str(path))
    return grid.fill(bars, "1m", utc_ms("2018-01-01"), utc_ms("2019-01-01"))
