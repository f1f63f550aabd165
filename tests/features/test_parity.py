"""The promise: over a table and bar by bar the same bits, and nothing from the future."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from features.markets import OWN, TALIB, bits, config, market, row

from pipeline.config.model import Config
from pipeline.features import FeatureStream, compute, required_columns
from pipeline.features.talib_functions import functions
from pipeline.market import candles


def _same(stream: FeatureStream, columns: dict[str, np.ndarray], times: np.ndarray, batch: pa.Table, first: int):
    # Compared many at a time, which takes far less than one by one.
    expected, listed = bits(batch), {name: values.tolist() for name, values in columns.items()}
    for start in range(first, len(times), 4096):
        rows = range(start, min(start + 4096, len(times)))
        values = np.array(
            [stream.update({name: of[i] for name, of in listed.items()}, int(times[i])) for i in rows]
        ).T  # fmt: skip
        found = np.where(np.isnan(values), np.float32(np.nan), values).view(np.uint32)
        differ = np.argwhere((found != expected[:, rows.start : rows.stop]).T)
        at = {stream.names[j] for row, j in differ if row == differ[0][0]}
        assert not differ.size, f"row {start + differ[0][0]}: {at}"


@pytest.mark.parametrize("opened_on", [1, 3, 60, 401, 1200])
def test_a_stream_opened_on_any_amount_of_history_gives_the_bits_of_the_table(opened_on):
    table = market()
    declared = config(TALIB + OWN)
    columns = {name: candles.column(table, name) for name in table.schema.names[1:] if name != "is_filled"}
    stream = FeatureStream(declared, table.slice(0, opened_on))
    _same(stream, columns, candles.times_ms(table), compute(declared, table), opened_on)


@pytest.mark.parametrize("entry", TALIB + OWN, ids=lambda e: next(iter(e)))
def test_no_feature_changes_when_the_future_is_missing_or_different(entry):
    table, declared = market(), config([entry])
    whole = bits(compute(declared, table))
    for cut in (100, 611, 1300):
        rest = market(1500, seed=99).slice(cut)
        other = pa.concat_tables([table.slice(0, cut), rest])
        for changed in (table.slice(0, cut), other):
            assert np.array_equal(bits(compute(declared, changed))[:, :cut], whole[:, :cut])


def test_a_centred_window_would_be_caught():
    # The check above can fail: this is what a leak looks like to it.
    close = np.arange(10.0)
    centred = np.convolve(close, np.ones(3) / 3, mode="same")
    changed = np.convolve(np.append(close[:5], np.zeros(5)), np.ones(3) / 3, mode="same")
    assert not np.array_equal(centred[:5], changed[:5])


@pytest.mark.slow
def test_all_talib_functions_and_all_families_agree_on_a_year_of_real_bars(real_data):
    table = pq.read_table(real_data / "spot/BTCUSDT_5m.parquet")
    n, rng = table.num_rows, np.random.default_rng(0)
    assert n > 100_000
    columns = {
        name: table.column(name).to_numpy().astype(np.float64) for name in ("open", "high", "low", "close", "volume")
    }
    columns["trades"] = np.ceil(columns["volume"] * 5)
    columns["taker_buy_volume"] = columns["volume"] * rng.random(n)
    columns["ETHUSDT_close"] = columns["close"] * np.exp(np.cumsum(rng.normal(0, 0.001, n)))
    columns["periods"] = np.full(n, 10.0)
    times = table.column("open_time").to_numpy().astype(np.int64)
    bars = pa.table({"open_time": candles.time_array(times), **columns})
    declared = config([{"talib": {"functions": list(functions()), "prefix": "all"}}, *TALIB, *OWN])
    stream = FeatureStream(declared, bars.slice(0, 1000))
    _same(stream, columns, times, compute(declared, bars), 1000)


def test_the_result_does_not_depend_on_the_number_of_threads():
    from pipeline.features import executor

    table, declared = market(400), config(TALIB + OWN)
    assert np.array_equal(bits(executor.compute(declared, table, 1)), bits(executor.compute(declared, table, 4)))


def test_a_bar_that_does_not_follow_is_refused():
    from pipeline.errors import BadInput

    table = market(50)
    stream = FeatureStream(config(OWN[:1]), table.slice(0, 40))
    with pytest.raises(BadInput, match="does not follow"):
        stream.update(row(table, 41), int(candles.times_ms(table)[41]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, None])
def test_a_bar_that_lacks_a_number_is_refused_and_the_right_one_can_follow(bad):
    from pipeline.errors import BadInput

    table, declared = market(330), config([*TALIB, *OWN])
    columns = {name: candles.column(table, name) for name in table.schema.names[1:] if name != "is_filled"}
    times = candles.times_ms(table)
    stream = FeatureStream(declared, table.slice(0, 310))
    wrong = row(table, 310) | {"low": bad}
    if bad is None:
        del wrong["low"]
    with pytest.raises(BadInput, match="'low' is not a finite number at 2024-01-02T01:50Z"):
        stream.update(wrong, int(times[310]))
    _same(stream, columns, times, compute(declared, table), 310)


def test_the_config_is_the_only_declaration():
    declared: Config = config(TALIB + OWN)
    table = market(300)
    assert compute(declared, table).schema.names[1:] == FeatureStream(declared, table).names


def test_a_column_that_was_unknown_at_first_is_held_to_once_it_is_known():
    from pipeline.errors import BadInput

    table, late = market(120), "volume"
    declared = config([{"talib": {"functions": ["SMA", "RSI"], "inputs": ["close", late], "periods": [5]}}])
    columns = {name: candles.column(table, name).copy() for name in required_columns(declared)}
    columns[late][:30] = np.nan
    times = candles.times_ms(table)
    bars = pa.table({"open_time": table.column("open_time"), **columns})
    stream = FeatureStream(declared, bars.slice(0, 20))
    _same(stream, columns, times[:100], compute(declared, bars), 20)
    with pytest.raises(BadInput, match=f"'{late}' is not a finite number"):
        stream.update(row(table, 100) | {late: np.nan}, int(times[100]))


@pytest.mark.parametrize("huge", [1e308, 1.7e308])
def test_numbers_whose_sum_is_too_large_are_numbers_all_the_same(huge):
    table = market(60)
    declared = config([{"talib": {"functions": ["MAX"], "inputs": ["volume", "trades"], "periods": [3]}}])
    stream = FeatureStream(declared, table.slice(0, 50))
    values = stream._stream.update_exactly(
        row(table, 50) | {"volume": huge, "trades": huge}, int(candles.times_ms(table)[50])
    )
    assert values.tolist() == [huge, huge]
