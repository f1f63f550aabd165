"""Functions that are compiled when they are first called."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import pipeline.compiled
from pipeline.compiled import Compiled


def test_threads_whose_calls_are_the_first_have_it_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    class Numba:
        @staticmethod
        def njit(**options: Any) -> Callable[..., Any]:
            made.append(options)
            # As compiling it would, this lets the others in.
            time.sleep(0.05)
            return lambda function: function

    monkeypatch.setattr(pipeline.compiled, "_numba", Numba)
    twice, together = Compiled(lambda number: 2 * number, {"nogil": True}), threading.Barrier(4)

    def call(number: int) -> int:
        together.wait()
        return twice(number)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(call, range(4))) == [0, 2, 4, 6]
    assert made == [{"cache": True, "nogil": True}]
