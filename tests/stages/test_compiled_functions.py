"""What `labels` calls is in the library of machine code, with the arguments that it calls it with."""

from typing import Any

import numpy as np
import pytest

from pipeline.compiled import Compiled
from pipeline.config.labels import HighLow2
from pipeline.labels import high_low2
from pipeline.stages import compiled_functions


def kinds(arguments: tuple[Any, ...]) -> list[Any]:
    """What has to be the same for the same machine code."""
    return [
        (one.dtype, one.ndim, one.flags.c_contiguous, one.flags.aligned) if isinstance(one, np.ndarray) else type(one)
        for one in arguments
    ]


@pytest.mark.parametrize("rows", [300, 30_000], ids=["in one piece", "in threads"])
def test_highlow2_calls_nothing_else(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    called: dict[str, list[Any]] = {}
    own = Compiled.__call__

    def call(function: Compiled, *arguments: Any) -> Any:
        called[function.__name__] = kinds(arguments)
        return own(function, *arguments)

    monkeypatch.setattr(Compiled, "__call__", call)
    close = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.001, rows)))
    high_low2.compute(HighLow2(thresholds=[0.5], tolerance=0.2, horizon=20), 20, close, close * 1.0005, close * 0.9995)
    assert called == {one.function.__name__: kinds(one.example) for one in compiled_functions.entries()}
