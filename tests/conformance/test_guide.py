"""The table in the guide is of today's rows, columns and versions, and is put there without touching the rest."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script that makes the table."""
    monkeypatch.syspath_prepend(str(HERE))
    for name in ("run", "own_tests", "operations"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import run

    return run  # type: ignore[no-any-return]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_has_the_rows_and_columns_of_the_checks_and_nothing_fails(run: ModuleType) -> None:
    guide = run.GUIDE.read_text(encoding="utf-8")
    told = guide[guide.index(run._BEGIN) :]
    table = [cells(line) for line in told[: told.index(run._END)].splitlines() if line.startswith("|")]
    rows = [row for name, section in run.ROWS.items() for row in (f"**{name}**", *section)]
    assert table[0] == ["", *(column.title for column in run.COLUMNS)], "make conformance"
    assert [line[0] for line in table[2:]] == rows, "make conformance"
    assert not any("✗" in line for line in table)
    pins, _, _ = run.report({column: run.Outcome() for column in run.COLUMNS}, "").partition("\n")
    assert pins in told, "make conformance"


def test_only_what_lies_between_the_marks_is_written(run: ModuleType) -> None:
    guide = f"before {run._END}{run._BEGIN}old\n{run._END}after {run._END}"
    assert run.written(guide, "new\n") == f"before {run._END}{run._BEGIN}new\n{run._END}after {run._END}"
    with pytest.raises(ValueError):
        run.written("no marks", "new\n")
