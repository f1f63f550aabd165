"""The synthetic market: reproducible piece by piece, like a real one where it matters, and learnable on demand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import interval_ms, utc_ms
from pipeline.config.sources import SyntheticSource
from pipeline.errors import BadInput
from pipeline.market import cleaning, grid, synthetic
from pipeline.market.candles import COLUMNS, column, times_ms
from pipeline.market.timeframes import resample

START, END = utc_ms("2023-01-20"), utc_ms("2023-04-10")
HOUR = 3_600_000
QUARTER = synthetic.bars(SyntheticSource(edge=0.3), "BTCUSDT", "5m", START, END)


def moves(symbol: str, **settings_: float) -> np.ndarray:
    """A year of hourly log returns."""
    source = SyntheticSource(outages_per_year=0, **settings_)
    table = synthetic.bars(source, symbol, "1h", utc_ms("2022-01-01"), utc_ms("2023-01-01"))
    return np.diff(np.log(column(table, "close")))


@given(st.integers(START // HOUR, END // HOUR - 1), st.integers(1, 24 * 50))
@settings(max_examples=10)
def test_a_bar_does_not_depend_on_the_range_it_is_asked_for_in(first_hour: int, hours: int) -> None:
    start, end = first_hour * HOUR, min((first_hour + hours) * HOUR, END)
    times = times_ms(QUARTER)
    wanted = QUARTER.filter((times >= start) & (times < end))
    assert synthetic.bars(SyntheticSource(edge=0.3), "BTCUSDT", "5m", start, end).equals(wanted)


def test_bars_pass_the_checks_of_any_source() -> None:
    assert cleaning.clean(QUARTER, "5m", "synthetic").equals(QUARTER)
    assert (column(QUARTER, "taker_buy_volume") <= column(QUARTER, "volume")).all()


@pytest.mark.parametrize("higher", ["15m", "1h", "1d"])
def test_all_intervals_tell_of_the_same_market(higher: str) -> None:
    minutes = synthetic.bars(SyntheticSource(), "BTCUSDT", "1m", START, START + 15 * 24 * HOUR)
    times, values = resample(
        {name: column(minutes, name) for name in COLUMNS}, times_ms(minutes), 60_000, interval_ms(higher)
    )
    bars = synthetic.bars(SyntheticSource(), "BTCUSDT", higher, START, START + 15 * 24 * HOUR)
    assert times_ms(bars).tolist() == times.tolist()
    for name in COLUMNS:
        # Sums of amounts are told with eight decimals.
        np.testing.assert_array_equal(column(bars, name), np.round(values[name], 8))


def test_prices_go_on_where_a_month_ends() -> None:
    table = synthetic.bars(
        SyntheticSource(outages_per_year=0), "BTCUSDT", "1m", utc_ms("2023-01-31"), utc_ms("2023-02-02")
    )
    opens, closes = column(table, "open"), column(table, "close")
    np.testing.assert_allclose(opens[1:], closes[:-1], atol=0.011)


def test_the_seed_and_the_symbol_make_the_market() -> None:
    def closes(seed: int, symbol: str) -> list[float]:
        return column(synthetic.bars(SyntheticSource(seed=seed), symbol, "1h", START, END), "close").tolist()

    assert closes(1, "BTCUSDT") == closes(1, "BTCUSDT")
    assert closes(1, "BTCUSDT") != closes(2, "BTCUSDT")
    assert closes(1, "BTCUSDT") != closes(1, "ETHUSDT")


def test_symbols_move_together_but_not_alike() -> None:
    assert 0.3 < np.corrcoef(moves("BTCUSDT"), moves("ETHUSDT"))[0, 1] < 0.7


def test_volatility_is_near_what_was_asked_for_clusters_and_has_fat_tails() -> None:
    returns = moves("BTCUSDT", annual_volatility=0.8)
    size = np.abs(returns)
    assert 0.6 < returns.std() * np.sqrt(8760) < 1.0
    assert np.corrcoef(size[:-1], size[1:])[0, 1] > 0.15
    assert np.mean((returns / returns.std()) ** 4) > 4


def test_an_edge_plants_a_pattern_and_none_leaves_none() -> None:
    def momentum(edge: float) -> float:
        path = np.concatenate(([0.0], np.cumsum(moves("BTCUSDT", edge=edge))))
        ahead, behind = path[12::4] - path[8:-4:4], path[8:-4:4] - path[4:-8:4]
        return float(np.corrcoef(ahead, behind)[0, 1])

    assert momentum(1.0) > 0.25
    # 2190 independent pairs: 0.07 is more than three standard deviations.
    assert abs(momentum(0.0)) < 0.07


def test_takers_show_the_pressure_that_moves_the_price_later() -> None:
    table = synthetic.bars(SyntheticSource(edge=1, outages_per_year=0), "BTCUSDT", "1h", START, END)
    share = column(table, "taker_buy_volume") / column(table, "volume")
    later = np.diff(np.log(column(table, "close")))[1:]
    assert np.corrcoef(share[1:-1], later)[0, 1] > 0.15


def test_outages_are_absent_bars_shared_by_all_symbols() -> None:
    source = SyntheticSource(outages_per_year=100)
    one, two = (synthetic.bars(source, s, "5m", START, END) for s in ("BTCUSDT", "ETHUSDT"))
    found = grid.gaps(times_ms(one), 300_000)
    assert 10 < len(found) < 40
    assert found == grid.gaps(times_ms(two), 300_000)
    assert not grid.gaps(
        times_ms(synthetic.bars(SyntheticSource(outages_per_year=0), "BTCUSDT", "5m", START, END)), 300_000
    )


def test_volume_follows_the_hour_of_the_day() -> None:
    table = synthetic.bars(SyntheticSource(outages_per_year=0), "BTCUSDT", "1h", START, START + 60 * 24 * HOUR)
    by_hour = column(table, "quote_volume").reshape(-1, 24).mean(axis=0)
    assert by_hour[15] > 1.3 * by_hour[3]


@pytest.mark.parametrize("price", [0.00001, 1.0, 95_000.0])
def test_any_start_price_gives_possible_bars(price: float) -> None:
    table = synthetic.bars(SyntheticSource(start_price=price), "XUSDT", "1h", START, END)
    assert cleaning.clean(table, "1h", "synthetic").equals(table)
    assert len(np.unique(column(table, "close"))) > table.num_rows / 2


def test_seconds_are_simulated_as_well() -> None:
    table = synthetic.bars(SyntheticSource(outages_per_year=0), "BTCUSDT", "1s", START, START + HOUR)
    assert cleaning.clean(table, "1s", "synthetic").num_rows == 3600


def test_funding_rates_come_every_eight_hours() -> None:
    table = synthetic.funding(SyntheticSource(), "BTCUSDT", START, START + 24 * HOUR)
    assert times_ms(table).tolist() == [START, START + 8 * HOUR, START + 16 * HOUR]


@pytest.mark.parametrize(
    ("start", "end", "what"), [("2016-01-01", "2017-02-01", "begins at 2017"), ("2020-01-02", "2020-01-01", "is empty")]
)
def test_a_range_without_a_market_is_refused(start: str, end: str, what: str) -> None:
    with pytest.raises(BadInput, match=what):
        synthetic.bars(SyntheticSource(), "BTCUSDT", "1h", utc_ms(start), utc_ms(end))
