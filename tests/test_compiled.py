"""Functions that are compiled when they are first called."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import pipeline.compiled
from pipeline.compiled import Compiled
from pipeline.sources import digest, sources_of, stamp


def twice(number: int) -> int:
    return 2 * number


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


def test_what_is_kept_is_made_anew_when_a_file_that_it_comes_from_is_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    numba = pipeline.compiled._numba()
    monkeypatch.setattr(numba.core.config, "CACHE_DIR", str(tmp_path))

    def taken(content: str) -> bool:
        monkeypatch.setattr(pipeline.compiled, "stamp", lambda module: content)
        function = Compiled(twice, {})
        assert function(21) == 42
        stats = function.dispatcher.stats
        assert stats.cache_hits.total() + stats.cache_misses.total() == 1
        return stats.cache_hits.total() == 1

    assert [taken(content) for content in ("one", "one", "two", "two", "one")] == [False, True, False, True, False]


def test_the_core_comes_from_the_files_of_its_rules_too() -> None:
    names = {path.name for path in sources_of("pipeline.trading.core")}
    assert {"core.py", "exits.py", "costs.py", "positions.py", "compiled.py", "market.py"} <= names
    assert (
        stamp("pipeline.trading.core") == digest(sources_of("pipeline.trading.core")) != stamp("pipeline.trading.exits")
    )
    assert stamp("tests.test_compiled") == stamp("numpy") == ""


def test_a_module_that_a_package_gives_by_name_is_a_source() -> None:
    assert "exits.py" in {path.name for path in sources_of("pipeline.trading.simulation")}
    assert "rows.py" in {path.name for path in sources_of("pipeline.signals.rows")}
