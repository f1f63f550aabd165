"""Scores from conditions: over a table, bar by bar, and where inputs are missing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.trading import Condition, RuleSet, Signals
from pipeline.signals import SignalStream, check_columns, compute
from pipeline.signals.rules import RulesStream, rules

OPS = (">", ">=", "<", "<=", "crosses_above", "crosses_below")
numbers = st.one_of(st.just(math.nan), st.integers(-2, 2).map(float))
conditions = st.builds(
    Condition,
    column=st.sampled_from(["a", "b"]),
    op=st.sampled_from(OPS),
    value=st.one_of(st.sampled_from(["a", "b"]), st.integers(-1, 1).map(float)),
    weight=st.sampled_from([0.1, 0.3, 1.0, 7.0]),
)
rule_sets = st.builds(
    RuleSet,
    long=st.lists(conditions, min_size=1, max_size=4),
    short=st.lists(conditions, max_size=3),
    require=st.sampled_from(["all", "any", "share"]),
)


@settings(max_examples=200, deadline=None)
@given(rule_sets, st.lists(st.tuples(numbers, numbers), min_size=1, max_size=30))
def test_bar_by_bar_gives_the_bits_of_the_table(spec: RuleSet, rows: list[tuple[float, float]]) -> None:
    a, b = (np.array(column) for column in zip(*rows, strict=True))
    table = rules({"a": a, "b": b}, spec)
    stream = RulesStream(spec)
    assert [stream.update({"a": x, "b": y}) for x, y in rows] == table.tolist()
    assert (np.abs(table) <= 1 + 1e-12).all()


def score(require: str, *long: dict, short: tuple[dict, ...] = (), **columns: list[float]) -> list[float]:
    spec = RuleSet.model_validate({"long": list(long), "short": list(short), "require": require})
    return rules({name: np.array(values) for name, values in columns.items()}, spec).tolist()


LOW, HIGH = {"column": "x", "op": "<", "value": 0.0}, {"column": "y", "op": ">", "value": "x", "weight": 3.0}


def test_conditions_combine_as_required() -> None:
    columns = {"x": [-1.0, -1.0, 1.0, 1.0], "y": [0.0, -2.0, 2.0, 0.0]}
    assert score("all", LOW, HIGH, **columns) == [1, 0, 0, 0]
    assert score("any", LOW, HIGH, **columns) == [1, 1, 1, 0]
    assert score("share", LOW, HIGH, **columns) == [1, 0.25, 0.75, 0]
    assert score("share", LOW, short=(HIGH,), **columns) == [0, 1, -1, 0]


def test_what_is_not_known_is_not_met() -> None:
    assert score("all", LOW, x=[math.nan, -1.0]) == [0, 1]
    below = {"column": "x", "op": "<=", "value": "y"}
    assert score("any", below, x=[1.0, math.nan, 1.0], y=[math.nan, 1.0, 2.0]) == [0, 0, 1]


def test_a_crossing_needs_the_bar_before() -> None:
    up = {"column": "x", "op": "crosses_above", "value": 0.0}
    assert score("all", up, x=[1.0, 0.0, 1.0, 2.0, math.nan, 1.0]) == [0, 0, 1, 0, 0, 0]
    down = {"column": "x", "op": "crosses_below", "value": "y"}
    assert score("all", down, x=[1.0, 0.0, 0.0], y=[0.5, 0.5, 0.5]) == [0, 1, 0]


def test_a_chain_of_rules_and_threshold_needs_no_prediction() -> None:
    signals = Signals.model_validate(
        {"predictions": "features", "steps": [
            {"rules": {"long": [LOW], "short": [{"column": "x", "op": ">", "value": 1.0}]}},
            {"threshold": {"column": "trade_score", "buy": 1.0, "sell": -1.0}},
        ]}
    )  # fmt: skip
    x = np.array([-1.0, 0.5, 2.0, math.nan])
    assert check_columns(signals, ["x", "z"], "the features") == ["x"]
    table = compute(signals, {"x": x}, np.zeros(4, bool))
    assert table["buy_signal"].tolist() == [True, False, False, False]
    assert table["sell_signal"].tolist() == [False, False, True, False]
    stream = SignalStream(signals)
    assert [stream.update({"x": value})["trade_score"] for value in x] == table["trade_score"].tolist()


def test_an_unknown_column_is_named_with_the_nearest() -> None:
    from pipeline.errors import BadInput

    signals = Signals.model_validate(
        {"predictions": "features", "steps": [
            {"rules": {"long": [{"column": "close_RSI_41", "op": "<", "value": 30}]}},
            {"threshold": {"buy": 1.0, "sell": -1.0}},
        ]}
    )  # fmt: skip
    with pytest.raises(BadInput, match="no column 'close_RSI_41'") as error:
        check_columns(signals, ["close_RSI_14"], "the features")
    assert "close_RSI_14" in (error.value.hint or "")
