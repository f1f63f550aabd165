"""Streams that are opened on the end of a history alone say what those opened on all of it say, to the last bit."""

import numpy as np
import pytest

from pipeline.features import talib_functions
from pipeline.features.talib_functions import _OF_THE_WINDOW, Call, CallStream, functions

BARS, OPENED = 1300, 1009


def market(ticks: bool) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.004, BARS)))
    # Whole prices, and some that stand still: the extremes of a window are met more than once.
    close = np.round(close) if ticks else close
    close[1000:1080] = close[1000]
    opens = np.concatenate([close[:1], close[:-1]])
    spread = 1 + 0.002 * (not ticks) * rng.random(BARS)
    high, low = np.maximum(opens, close) * spread, np.minimum(opens, close) / spread
    return {"open": opens, "high": high, "low": low, "close": close, "volume": rng.lognormal(size=BARS)}


def differing(name: str, period: int, columns: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> int:
    """Updates, of all after the opening, whose values differ in any bit."""
    function = functions()[name]
    values = tuple(period if "period" in key else value for key, value in function.parameters.items())
    call = Call(function, tuple(i if i in columns else "close" for i in function.inputs), values, ())
    history = {key: value[:OPENED] for key, value in columns.items()}
    monkeypatch.setattr(talib_functions, "_OF_THE_WINDOW", {name})
    part = CallStream(call, history)
    monkeypatch.setattr(talib_functions, "_OF_THE_WINDOW", set())
    whole = CallStream(call, history)
    bars = [{key: value[t] for key, value in columns.items()} for t in range(OPENED, BARS)]
    return sum(np.array(part.update(bar)).tobytes() != np.array(whole.update(bar)).tobytes() for bar in bars)


@pytest.mark.parametrize("name", sorted(_OF_THE_WINDOW))
def test_their_values_do_not_depend_on_when_they_were_opened(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [differing(name, p, market(ticks), monkeypatch) for p in (3, 14, 120) for ticks in (False, True)] == [0] * 6


@pytest.mark.parametrize("name", ["SMA", "STDDEV", "EMA"])
def test_those_of_others_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert differing(name, 14, market(ticks=False), monkeypatch) > 0
