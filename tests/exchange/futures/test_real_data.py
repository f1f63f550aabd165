"""A long over the fall of June 2022 on real bars and funding rates, against an account kept by hand."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config import utc_ms
from pipeline.testing import LocalExchange, Setup

HOUR = 3_600_000
START, END = utc_ms("2022-06-01"), utc_ms("2022-07-01")


def test_funding_wears_the_margin_down_until_the_fall_liquidates_it(real_data: Path) -> None:
    file, rates_file = real_data / "spot/BTCUSDT_1h.parquet", real_data / "funding/BTCUSDT_funding_2020_2023.parquet"
    setup = Setup(
        ("BTCUSDT",), "1h", file, start_ms=START, end_ms=END, market="um",
        funding=real_data / "funding/{symbol}_funding_2020_2023.parquet",
    )  # fmt: skip
    with LocalExchange(setup) as local:
        client = local.client()
        client.futures_change_leverage(symbol="BTCUSDT", leverage=10)
        client.futures_create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.1")
        entry = Decimal(client.futures_position_information()[0]["entryPrice"])
        local.step(24 * 29)
        incomes = client.futures_income_history(limit=1000)
        wallet = Decimal(client.futures_account_balance()[0]["balance"])
    bars = pq.read_table(file, columns=["open_time", "low", "close"])
    bars = bars.filter(pc.and_(pc.greater_equal(bars["open_time"], START - HOUR), pc.less(bars["open_time"], END)))
    times, lows, closes = (bars[name].to_numpy() for name in ("open_time", "low", "close"))
    stamps, rates = next(
        (table[0].to_numpy(), table[1].to_numpy())
        for table in [pq.read_table(rates_file).select(["funding_time", "funding_rate"])]
    )
    stamps = np.rint(stamps.astype("datetime64[ms]").astype(np.int64) / HOUR).astype(np.int64) * HOUR
    due = dict(zip(stamps.tolist(), rates.tolist(), strict=True))
    margin, paid = float(entry) * 0.1 / 10, []
    for i in range(2, len(times)):
        if times[i] in due:
            paid.append(0.1 * closes[i - 1] * due[times[i]])
            margin -= paid[-1]
        # margin + 0.1 p − 0.1 entry = 0.004 · 0.1 p
        level = (float(entry) * 0.1 - margin) / (0.1 * 0.996)
        if lows[i] <= level:
            break
    booked = [one for one in incomes if one["incomeType"] == "FUNDING_FEE"]
    assert np.allclose([-float(one["income"]) for one in booked], paid, atol=1e-7)
    lost = next(one for one in incomes if one["incomeType"] == "REALIZED_PNL")
    assert times[i] <= lost["time"] < times[i] + HOUR
    # Half a basis point of spread below its price.
    assert abs(float(lost["income"]) - 0.1 * (level * (1 - 0.5e-4) - float(entry))) < 0.1 * 0.02
    assert wallet == 10_000 + sum(Decimal(one["income"]) for one in incomes)
