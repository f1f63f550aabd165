"""Compiled functions called from a library that was made once, and when that is not to be."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from pipeline import machine_code
from pipeline.compiled import Compiled, compiled
from pipeline.machine_code import Entry

RECORD = np.dtype([("total", "f8"), ("count", "i8")])
linker = pytest.mark.skipif(not (shutil.which("ld") or shutil.which("cc")), reason="needs a linker")


class Weights(NamedTuple):
    """What a value is multiplied by, and whether at all."""

    values: np.ndarray
    factor: float
    used: bool


@compiled(cache=False)
def spread(values: np.ndarray) -> float:
    """Needs memory of its own for a moment."""
    own = values.copy()
    least = most = own[0]
    for value in own:
        least, most = min(least, value), max(most, value)
    return most - least


@compiled(cache=False, error_model="numpy")
def added(book: np.ndarray, values: np.ndarray, weights: Weights) -> int:
    """Changes a record in place."""
    for k in range(len(values)):
        if weights.used:
            book[0].total += np.log(values[k]) * weights.values[0, k] * weights.factor
        book[0].count += 1
    return book[0].count


@compiled(cache=False, nogil=True)
def quotient(a: int, b: int) -> float:
    """Raises ZeroDivisionError."""
    return a / b


@compiled(cache=False)
def above(values: np.ndarray, least: float) -> bool:
    """Whether all but the first are."""
    for row in values[1:].reshape(2, -1):
        for value in row:
            if not value > least:
                return False
    return True


def example() -> tuple[np.ndarray, np.ndarray, Weights]:
    weights = Weights(np.array([[0.3, 0.7, 0.1]]), 1.1, True)
    return np.zeros(1, RECORD), np.array([1.5, 2.5, 3.5]), weights


def entries() -> list[Entry]:
    return [
        Entry(spread, (np.ones(2),), float),
        Entry(added, example(), int),
        Entry(quotient, (1, 2), float),
        Entry(above, (np.ones(5, np.float32), 0.0), bool),
    ]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("code") / "code.so"
    machine_code.build(path, entries())
    return path


@pytest.fixture
def loaded(library: Path) -> None:
    machine_code.load(library, entries())


class Refused(Exception):
    """numba was asked."""


@pytest.fixture
def without_numba(loaded: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Compiled) -> None:
        raise Refused

    monkeypatch.setattr(Compiled, "dispatcher", property(refuse))


@linker
def test_it_says_and_changes_what_numba_does(loaded: None) -> None:
    values = np.random.default_rng(0).normal(size=1000) ** 2
    assert spread(values) == spread.dispatcher(values)
    mine, theirs = example(), example()
    assert added(*mine) == added.dispatcher(*theirs) == 3
    assert mine[0].tobytes() == theirs[0].tobytes()
    assert above(np.float32([9, 2, 2, 2, 1]), 1.5) is False
    assert above(np.float32([0, 2, 2, 2, 1]), 0.5) is True


@linker
def test_what_raises_raises_as_numbas(loaded: None) -> None:
    assert quotient(1, 4) == 0.25
    with pytest.raises(ZeroDivisionError):
        quotient(1, 0)


@linker
@pytest.mark.parametrize(
    "values",
    [np.arange(6.0)[::2], np.arange(3), np.ones((1, 3)), np.ones(3, np.float32), [1.0, 2.0, 3.0], np.float64(1)],
    ids=["strided", "whole", "flat", "float32", "list", "number"],
)
def test_what_it_was_not_made_for_goes_to_numba(without_numba: None, values: object) -> None:
    with pytest.raises(Refused):
        spread(values)


@linker
def test_what_it_was_made_for_does_not(without_numba: None) -> None:
    assert spread(np.array([1.0, 4.0])) == 3.0


@linker
def test_memory_is_given_back(loaded: None) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    values = np.ones(1 << 17)
    spread(values)
    before = resident()
    for _ in range(50):
        spread(values)
    assert resident() - before < 5000  # pages; a hundred copies are 25,600


def test_without_a_linker_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="no linker"):
        machine_code.build(tmp_path / "code.so", [Entry(quotient, (1, 2), float)])
    assert list(tmp_path.iterdir()) == []


@compiled(cache=False)
def listed(a: float, b: float) -> float:
    """A list is more of numba's runtime than is known here."""
    both = [a, b]
    return both[0]


@linker
def test_one_that_needs_more_of_numba_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not known here"):
        machine_code.build(tmp_path / "code.so", [Entry(listed, (1.0, 2.0), float)])


@linker
def test_one_that_is_not_what_numba_makes_of_it_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = machine_code._bound
    monkeypatch.setattr(machine_code, "_bound", lambda *given: lambda a, b: bound(*given)(a, b) + 1e-9)
    with pytest.raises(ValueError, match="quotient: is not what numba makes"):
        machine_code.build(tmp_path / "code.so", [Entry(quotient, (1, 2), float)])
    assert list(tmp_path.iterdir()) == []


def test_a_change_of_the_sources_is_another_library(tmp_path: Path) -> None:
    source = tmp_path / "a.py"
    source.write_text("1")
    before = machine_code.library_path([source])
    assert before == machine_code.library_path([source])
    source.write_text("2")
    assert before != machine_code.library_path([source])


def test_importing_a_compiled_function_does_not_import_numba() -> None:
    script = "import sys, pipeline.trading.core, pipeline.features.windows; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
