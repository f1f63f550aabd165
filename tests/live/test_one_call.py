"""A bar in one call: the same bits as part by part, in whatever order bars come, go missing or are refused."""

from collections.abc import Iterator
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from live.test_strategy import PLAIN, by_time, seen, tables
from live.test_strategy import config as declared_config

from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.features import compute
from pipeline.live.merging import MergedBar
from pipeline.live.shadow import ShadowTrader, shadow_rules
from pipeline.live.strategy import Outlook, Strategy
from pipeline.models.bundle import Bundle
from pipeline.models.fitting import Fitted

FEATURES = [
    *PLAIN["features"],
    {"talib": {"functions": ["SMA", "RSI"], "periods": [5, 14], "relative": "rel_diff", "relative_base": "last"}},
    {"talib": {"functions": ["CDLDOJI", "OBV", "STOCH"]}},
    {"stats": {"functions": ["skew"], "inputs": ["close"], "windows": [20]}},
]
SMOOTH = [
    {"smooth": {"columns": ["close_return_3"], "name": "score", "window": 4}},
    {"smooth": {"columns": ["score"], "name": "slow", "window": 5.0}},
    {"threshold": {"column": "slow", "buy": 0.001, "sell": -0.001}},
]
SCORED = [
    {"combine": {"columns": ["up_lgbm", "down_lgbm"], "name": "score", "combine": "difference"}},
    {"threshold": {"column": "score", "buy": 0.05, "sell": -0.05}},
]


def of_features(**more: Any) -> Config:
    return declared_config(
        PLAIN, symbols=["AAA", "BBB", "CCC"], features=FEATURES,
        signals={"predictions": "features", "steps": SMOOTH}, **more,
    )  # fmt: skip


def of_models() -> tuple[Config, Bundle]:
    declared = declared_config(
        PLAIN, symbols=["AAA", "BBB", "CCC"], features=FEATURES, labels=[{"fixed_horizon": {"horizons": [5]}}],
        train={"algorithms": [{"name": "lgbm"}]}, signals={"predictions": "predict", "steps": SCORED},
    )  # fmt: skip
    table = compute(declared, tables(300)["AAA"])
    names = table.column_names[1:]
    matrix = np.column_stack([table.column(name).to_numpy() for name in names])[40:]
    rng = np.random.default_rng(0)
    models = {}
    for name in ("up_lgbm", "down_lgbm"):
        settings = {"objective": "binary", "num_leaves": 7, "verbosity": -1, "num_threads": 1}
        data = lgb.Dataset(matrix, rng.integers(0, 2, len(matrix)), feature_name=names)
        models[name] = Fitted(lgb.train(settings, data, 12), "lgbm", True, 12)
    return declared, Bundle({"interval": "1h", "features": names}, models, {})


def lived(
    strategy: Strategy, declared: Config, bars: dict[int, dict[str, MergedBar]], *, is_rehearsed: bool = False
) -> Iterator[tuple[Any, ...]]:
    """Bits of what each bar says and of what becomes of the account. Some symbols have no bar, or a made-up one."""
    trader, kept = ShadowTrader(3, shadow_rules(declared, next(iter(bars))), 1000.0), list[Outlook]()
    rng, told = np.random.default_rng(1), 0
    for number, (time, now) in enumerate(bars.items()):
        some = {symbol: bar._replace(filled=bool(rng.random() < 0.2)) for symbol, bar in now.items()}
        behind = [symbol for symbol in some if number % 7 == 0 and rng.random() < 0.6]
        late = {symbol: some.pop(symbol) for symbol in behind}
        if is_rehearsed and number > 1:
            other = {s: bar._replace(values={n: 2 * v for n, v in bar.values.items()}) for s, bar in now.items()}
            told += strategy.peek(time, other) is not None
        outlook = strategy.update(time, some)
        if number % 3 == 0:
            kept.append(outlook)
        for symbol, bar in late.items():
            strategy.catch_up(symbol, bar)
        yield seen(outlook), trader.update(outlook).equity, trader.positions.tobytes()
    assert told > 100 or not is_rehearsed
    # What somebody keeps is not written over by later bars.
    yield tuple(seen(outlook) for outlook in kept)


@pytest.mark.parametrize("case", ["features", "models", "gates"])
def test_it_says_what_the_parts_say(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gates = {"enabled": True, "gates": {"rsi": {"column": "close_return_3", "low": 0, "high": 0.004}}}
    more = {"risk": gates} if case == "gates" else {}
    declared, models = of_models() if case == "models" else (of_features(**more), None)
    merged = tables(260, ("AAA", "BBB", "CCC"))
    at = by_time(declared, merged)
    bars = dict(list(at.items())[100:])

    def made() -> Strategy:
        return Strategy(declared, models, {s: t.slice(0, 100) for s, t in merged.items()}, next(iter(bars)))

    together = made()
    whole = list(lived(together, declared, bars, is_rehearsed=True))
    assert together._one_call is not None
    monkeypatch.setattr(Strategy, "_in_one_call", lambda *_: None)
    alone = made()
    assert whole == list(lived(alone, declared, bars))
    assert alone._one_call is None


def test_a_bar_that_a_part_refuses_is_refused_and_the_right_one_can_follow() -> None:
    declared = of_features()
    merged = tables(120, ("AAA", "BBB", "CCC"))
    bars = dict(list(by_time(declared, merged).items())[100:])
    strategy, other = (
        Strategy(declared, None, {s: t.slice(0, 100) for s, t in merged.items()}, next(iter(bars))) for _ in range(2)
    )
    for number, (time, now) in enumerate(bars.items()):
        if number == 5:
            # Nobody has taken anything of a bar that one of them refuses.
            assert strategy._one_call is not None
            wrong = now["BBB"]._replace(values={**now["BBB"].values, "close": np.nan})
            assert strategy._one_call.update(strategy._number, now | {"BBB": wrong}, time) is None
            assert strategy._one_call.update(strategy._number, now, time + 1) is None
            with pytest.raises(BadInput, match="'close'"):
                other.update(time, {"BBB": wrong})
        assert seen(strategy.update(time, now)) == seen(other.update(time, now))


def test_a_result_is_written_again_only_if_nobody_has_any_of_it() -> None:
    declared = of_features()
    merged = tables(140, ("AAA", "BBB", "CCC"))
    bars = dict(list(by_time(declared, merged).items())[100:])
    strategy = Strategy(declared, None, {s: t.slice(0, 100) for s, t in merged.items()}, next(iter(bars)))
    for number, (time, now) in enumerate(bars.items()):
        strategy.update(time, now)
        if number == 2:
            break
    made: list[int] = []
    rest = list(bars.items())[3:]
    for time, now in rest[:6]:
        made.append(id(strategy.update(time, now).market.numbers))
    assert len(set(made)) == 2
    held: list[Any] = []
    takes = (
        lambda o: o.market, lambda o: o.features["AAA"], lambda o: o.scores["BBB"], lambda o: o.market.numbers[0],
        lambda o: o,
    )  # fmt: skip
    for (time, now), take in zip(rest[6:], takes, strict=False):
        held.append(take(strategy.update(time, now)))
    kept = [seen(held[4])[2], held[1].tobytes(), held[3].tobytes()]
    for time, now in rest[11:20]:
        strategy.update(time, now)
    assert kept == [seen(held[4])[2], held[1].tobytes(), held[3].tobytes()]
