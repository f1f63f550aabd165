"""The strategy bar by bar: opened anywhere it says the same, and what does not fit is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from builders import START_MS, bars, random_walk
from live.batch import HOUR, LAYOUT, MODELS, RULES, config, run_batch, write_downloads

from pipeline.artifacts import read_table
from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.live.merging import MergedBar, bars_of
from pipeline.live.scoring import row_scorer
from pipeline.live.shadow import ShadowTrader, shadow_rules
from pipeline.live.strategy import Outlook, Strategy, Thresholds, columns_of, signal_memory
from pipeline.models import bundle
from pipeline.stages.history import read_history
from pipeline.trading.correlation import daily_correlation
from pipeline.trading.market import BUY, SELL, VOLATILITY

DAY_MS = 24 * HOUR
# Prices and a threshold alone: what a test adds is what it is about.
PLAIN: dict[str, Any] = {
    "name": "t",
    "symbols": ["AAA", "BBB"],
    "interval": "1h",
    "features": [{"returns": {"functions": ["return"], "periods": [3]}}],
    "signals": {
        "predictions": "features",
        "steps": [{"threshold": {"column": "close_return_3", "buy": 0.002, "sell": -0.002}}],
    },
    "simulate": {"direction": "both"},
}


def tables(n: int = 300, symbols: tuple[str, ...] = ("AAA", "BBB")) -> dict[str, pa.Table]:
    return {s: bars(random_walk(n, k, 0.004), step_ms=HOUR) for k, s in enumerate(symbols)}


def by_time(declared: Config, merged: dict[str, pa.Table]) -> dict[int, dict[str, MergedBar]]:
    names = [name for name in columns_of(declared) if name != "is_filled"]
    result: dict[int, dict[str, MergedBar]] = {}
    for symbol, table in merged.items():
        for bar in bars_of(table, names):
            result.setdefault(bar.open_time_ms, {})[symbol] = bar
    return dict(sorted(result.items()))


def seen(outlook: Outlook) -> tuple[Any, ...]:
    """An outlook as bits that can be compared."""
    scores = {s: {k: np.float64(v).tobytes() for k, v in own.items()} for s, own in outlook.scores.items()}
    features = {s: row.tobytes() for s, row in outlook.features.items()}
    market = outlook.market
    return features, scores, market.numbers.tobytes(), market.flags.tobytes(), market.correlation.tobytes()


def run(strategy: Strategy, at: dict[int, dict[str, MergedBar]], since: int = 0) -> dict[int, Outlook]:
    return {time: strategy.update(time, now) for time, now in at.items() if time >= since}


@pytest.mark.parametrize("declared", [config(RULES), config(MODELS)], ids=["rules", "models"])
def test_opened_at_any_bar_it_says_the_same(workspace: Path, declared: Config) -> None:
    write_downloads(declared, 900, late=50, native="1h" if declared.labels else None)
    run_batch(declared)
    models = bundle.load(LAYOUT.trained) if declared.labels else None
    merged = {symbol: read_table(LAYOUT.merged(symbol), "merge") for symbol in declared.symbols}
    at = by_time(declared, merged)
    origin = next(iter(at))
    # From the very first bar, without any history.
    whole = run(Strategy(declared, models, {}, origin), at)
    for cut in (1, 2, 3, 5, 49, 51, 53, 210, 700):
        since = origin + cut * declared.step_ms
        history = {s: t.slice(0, sum(time < since and s in now for time, now in at.items())) for s, t in merged.items()}
        part = {time: now for time, now in at.items() if time < since + 40 * declared.step_ms}
        again = run(Strategy(declared, models, history, origin), part, since)
        for time, outlook in again.items():
            assert seen(outlook) == seen(whole[time]), (cut, time)


def test_all_the_history_there_is_may_be_just_what_the_signals_remember() -> None:
    # The hour is known on the very first bar, so an average of three begins with it.
    steps = [{"smooth": {"columns": ["time_hour"], "name": "s", "window": 3}}]
    signals = {"predictions": "features", "steps": [*steps, {"threshold": {"column": "s", "buy": 9, "sell": -9}}]}
    declared = config(PLAIN, features=[{"time": {"fields": ["hour"]}}], signals=signals)
    merged = tables(12)
    at = by_time(declared, merged)
    for cut in (1, 2, 3, 4):
        history = {s: t.slice(0, cut) for s, t in merged.items()}
        outlook = Strategy(declared, None, history, START_MS).update(START_MS + cut * HOUR, list(at.values())[cut])
        assert outlook.scores["AAA"]["s"] == np.mean(range(max(0, cut - 2), cut + 1))


def test_a_crossing_is_seen_from_the_one_bar_of_history() -> None:
    steps = [{"rules": {"long": [{"column": "time_hour", "op": "crosses_above", "value": 0.5}]}}]
    signals = {"predictions": "features", "steps": [*steps, {"threshold": {"buy": 1, "sell": -1}}]}
    declared = config(PLAIN, features=[{"time": {"fields": ["hour"]}}], signals=signals)
    merged = tables(12)
    strategy = Strategy(declared, None, {s: t.slice(0, 1) for s, t in merged.items()}, START_MS)
    at = by_time(declared, merged)
    assert [strategy.update(t, at[t]).market.signal[0, 0] for t in list(at)[1:3]] == [BUY, 0]


def test_one_row_is_scored_as_many_are(workspace: Path) -> None:
    declared = config(MODELS)
    write_downloads(declared, 600)
    run_batch(declared)
    models = bundle.load(LAYOUT.trained)
    rows = np.random.default_rng(0).normal(size=(500, len(models.features))).astype(np.float32)
    rows[::7] *= 100
    assert len(models.models) == 4
    for model in models.models.values():
        score = row_scorer(model, len(models.features))
        assert np.array([score(row) for row in rows]).tobytes() == model.predict(rows).tobytes()


def test_scores_begin_where_predict_begins_and_are_unknown_where_a_feature_is(workspace: Path) -> None:
    declared = config(MODELS, predict={"start": "2024-01-02"})
    write_downloads(declared, 700)
    run_batch(declared)
    models = bundle.load(LAYOUT.trained)
    at = by_time(declared, {s: read_table(LAYOUT.merged(s), "merge") for s in declared.symbols})
    outlooks = run(Strategy(declared, models, {}, next(iter(at))), at)
    score = {time: outlook.scores["BTCUSDT"]["up_gb"] for time, outlook in outlooks.items()}
    assert all(np.isnan(value) == (time < START_MS + DAY_MS) for time, value in score.items())
    stored = read_table(LAYOUT.signals("BTCUSDT"), "signals")
    assert stored["up_gb"].to_numpy().tolist() == [value for value in score.values() if not np.isnan(value)]


def test_made_up_bars_have_no_signal_and_leave_the_forecast(workspace: Path) -> None:
    declared, merged = config(PLAIN), tables()
    at = by_time(declared, merged)
    time = list(at)[100]
    strategy = Strategy(declared, None, {}, next(iter(at)))
    before = list(run(strategy, {t: now for t, now in at.items() if t < time}).values())[-1]
    now = {s: bar._replace(filled=s == "AAA", values=bar.values | {"close": 200.0}) for s, bar in at[time].items()}
    outlook = strategy.update(time, now)
    assert outlook.market.signal[:, 0].tolist() == [0, BUY]
    assert outlook.market.filled[:, 0].tolist() == [True, False]
    forecast = [o.market.numbers[VOLATILITY, :, 0] for o in (before, outlook)]
    assert forecast[0][0] == forecast[1][0] and forecast[0][1] != forecast[1][1]


def test_thresholds_in_place_of_the_configs_change_what_is_traded_and_not_the_signals_columns() -> None:
    declared, merged = config(PLAIN), tables()
    at = by_time(declared, merged)
    plain = run(Strategy(declared, None, {}, next(iter(at))), at)
    chosen = run(Strategy(declared, None, {}, next(iter(at)), Thresholds(0.01, -0.01, "grid")), at)
    flags = {"plain": [], "chosen": []}
    for name, outlooks in (("plain", plain), ("chosen", chosen)):
        for outlook in outlooks.values():
            flags[name].append(outlook.market.signal[0, 0])
            score = outlook.scores["AAA"]["close_return_3"]
            assert outlook.scores["AAA"]["buy_signal"] == (score >= 0.002)
            limit = 0.002 if name == "plain" else 0.01
            assert flags[name][-1] == BUY * (score >= limit) + SELL * (score <= -limit)
    assert 0 < np.count_nonzero(flags["chosen"]) < np.count_nonzero(flags["plain"])


def test_the_days_correlation_is_the_one_that_history_learns() -> None:
    limits = {"limits": {"correlated_exposure": 0.5}}
    declared = config(PLAIN, symbols=["AAA", "BBB", "CCC"], risk=limits)
    n = 24 * 130
    merged = tables(n, ("AAA", "BBB", "CCC"))
    # The third begins late, inside a day; until then its price stands still.
    merged["CCC"] = merged["CCC"].slice(24 * 30 + 7)
    origin = START_MS + 5 * HOUR
    at = {time: now for time, now in by_time(declared, merged).items() if time >= origin}
    outlooks = run(Strategy(declared, None, {}, origin), at)
    close = np.stack([merged[s]["close"].to_numpy()[-(n - 5) :] for s in ("AAA", "BBB")])
    late = merged["CCC"]["close"].to_numpy()
    close = np.vstack([close, np.concatenate([np.full(n - 5 - len(late), late[0]), late])])
    expected = daily_correlation(close, origin, HOUR)
    for time, outlook in outlooks.items():
        day = time // DAY_MS - origin // DAY_MS
        assert outlook.market.correlation[0].tobytes() == expected[day].tobytes(), day
    assert (expected[-1] != 1).sum() == 6, "nothing was learnt"


def test_memory_of_the_signals_steps() -> None:
    def memory(*steps: dict[str, Any]) -> int | None:
        signals = {"steps": [*steps, {"threshold": {"buy": 1, "sell": 0}}]}
        return signal_memory(config(PLAIN, signals=signals))

    smooth = {"smooth": {"columns": ["a"], "window": 5}}
    assert memory() == 0
    assert memory(smooth, {"rules": {"long": [{"column": "a", "op": ">", "value": 1}]}}, smooth) == 9
    assert memory({"smooth": {"columns": ["a"]}}) == 0
    assert memory(smooth, {"smooth": {"columns": ["a"], "window": 5.0}}) is None


def test_a_bar_that_does_not_follow_is_refused_by_its_symbol() -> None:
    declared, merged = config(PLAIN), tables()
    at = by_time(declared, merged)
    times = list(at)
    strategy = Strategy(declared, None, {s: t.slice(0, 100) for s, t in merged.items()}, times[0])
    with pytest.raises(BadInput, match="BBB: a bar of"):
        strategy.update(times[101], {"BBB": at[times[101]]["BBB"]})
    assert strategy.update(times[100], at[times[100]]).open_time_ms == times[100]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"risk": {"gates": {"trend": {"column": "close_return_9"}}}}, "'close_return_9', which risk.gates"),
        ({"signals": {**PLAIN["signals"], "predictions": "predict"}}, "no bundle is given"),
        ({"signals": {"predictions": "features", "steps": []}}, "no threshold steps"),
        (
            {"signals": {"predictions": "features", "steps": [{"threshold": {"column": "x", "buy": 1, "sell": 0}}]}},
            "no column 'x' in the features",
        ),
    ],
)
def test_a_strategy_that_cannot_be_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        Strategy(config(PLAIN, **changes), None, {}, START_MS)


def test_a_bundle_that_does_not_fit_is_refused(workspace: Path) -> None:
    declared = config(MODELS)
    write_downloads(declared, 400)
    run_batch(declared)
    models = bundle.load(LAYOUT.trained)
    with pytest.raises(BadInput, match="wants a feature 'close_SMA_5'"):
        Strategy(config(MODELS, features=MODELS["features"][1:]), models, {}, START_MS)
    with pytest.raises(BadInput, match="learned from 5m bars, not 15m bars"):
        Strategy(config(MODELS, interval="15m"), models, {}, START_MS)


def test_funding_without_a_rate_is_refused() -> None:
    declared = config(PLAIN, simulate={"funding": True})
    merged = tables()
    now = by_time(config(PLAIN), merged)
    strategy = Strategy(declared, None, {}, START_MS)
    with pytest.raises(BadInput, match="AAA: no column 'funding_rate'"):
        strategy.update(START_MS, now[START_MS])


def test_a_saved_account_goes_on_from_any_bar(workspace: Path) -> None:
    declared = config(RULES)
    write_downloads(declared, 400)
    run_batch(declared)
    at = by_time(declared, {s: read_table(LAYOUT.merged(s), "merge") for s in declared.symbols})
    origin = next(iter(at))
    outlooks = run(Strategy(declared, None, {}, origin), at)
    rules, cash = shadow_rules(declared, origin), declared.simulate.initial_cash
    steady, shaken = ShadowTrader(2, rules, cash), ShadowTrader(2, rules, cash)
    held = 0
    for outlook in outlooks.values():
        shaken = ShadowTrader.restore(shaken.save(), rules)
        mine, theirs = shaken.update(outlook), steady.update(outlook)
        assert mine.equity == theirs.equity and mine.trades.tobytes() == theirs.trades.tobytes()
        assert shaken.save() == steady.save()
        held += int(np.count_nonzero(steady.positions["side"]))
    assert held > 100 and steady.account["trades"][0] > 10
    assert steady.finish().trades.tobytes() == shaken.finish().trades.tobytes()


def test_an_account_takes_the_next_bar_only_and_goes_on_where_it_was_begun() -> None:
    declared, merged = config(PLAIN), tables()
    at = by_time(declared, merged)
    outlooks = list(run(Strategy(declared, None, {}, START_MS), at).values())
    rules = shadow_rules(declared, START_MS)
    trader = ShadowTrader(2, rules, 1000.0)
    trader.update(outlooks[0])
    with pytest.raises(BadInput, match="cannot live through"):
        trader.update(outlooks[2])
    trader.update(outlooks[1])
    with pytest.raises(BadInput, match="counts its bars from"):
        ShadowTrader.restore(trader.save(), rules._replace(origin_ms=START_MS + HOUR))


def test_the_ledger_grows_without_an_end(workspace: Path) -> None:
    # In and out at every bar: more trades than a ledger has rows at first.
    steps = [{"threshold": {"column": "time_hour", "buy": 0.0, "sell": -1.0}}]
    features = [{"time": {"fields": ["hour"]}}]
    signals = {"predictions": "features", "steps": steps}
    declared = config(PLAIN, features=features, signals=signals, simulate={"exits": {"max_bars": 1}})
    at = by_time(declared, tables(3200))
    trader = ShadowTrader(2, shadow_rules(declared, START_MS), 1000.0)
    strategy = Strategy(declared, None, {}, START_MS)
    closed = [trade for time, now in at.items() for trade in trader.update(strategy.update(time, now)).trades]
    assert len(closed) == trader.account["trades"][0] > 1024
    assert [trade["exit_bar"] for trade in closed] == sorted(trade["exit_bar"] for trade in closed)


def test_every_number_of_the_market_is_read_historys(workspace: Path) -> None:
    declared = config(RULES)
    write_downloads(declared, 500, late=60)
    run_batch(declared)
    at = by_time(declared, {s: read_table(LAYOUT.merged(s), "merge") for s in declared.symbols})
    history = read_history(declared, LAYOUT)
    outlooks = run(Strategy(declared, None, {}, int(history.times[0])), at)
    for row, time in enumerate(history.times.tolist()):
        market = outlooks[time].market
        for s, (first, stop) in enumerate(zip(history.first, history.stop, strict=True)):
            if first <= row < stop:
                assert market.numbers[:, s, 0].tobytes() == history.market.numbers[:, s, row].tobytes()
                assert market.flags[:, s, 0].tobytes() == history.market.flags[:, s, row].tobytes()
            assert market.filled[s, 0] == history.market.filled[s, row]
