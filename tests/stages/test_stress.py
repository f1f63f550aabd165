"""`pipeline stress`: a real server, client, desk and journal, for a short while."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import BadInput, CheckFailed
from pipeline.evaluation.shadow import spread
from pipeline.stages import stress as stage
from pipeline.stages.stress import Result, latest, stress, table


def result(name: str = "100/h", filled: int = 10, slow: float = 1.0) -> Result:
    parts = {part: spread([slow * ms for ms in range(1, 11)]) for part in ("sent", "order", "filled")}
    return Result(name, 10, filled, 1.0, parts, [] if filled == 10 else ["Refused: -2010"])


def told(*results: Result) -> dict[str, Any]:
    return {"created": "2024-01-01T00:00:00+00:00", "patterns": [one.json() for one in results]}


def test_orders_go_all_the_way_and_the_second_run_is_compared_with_the_first(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.live.load import Pattern

    monkeypatch.setattr(stage, "patterns", lambda hours: [Pattern("burst of 8", 8, None, 4), Pattern("9/h", 4, 3600)])
    stress(20, 0.01, 7, 1.0, as_json=True)
    first = json.loads(capsys.readouterr().out)
    assert [one["success"] for one in first["patterns"]] == [1.0, 1.0]
    assert first["patterns"][0]["sent_ms"]["count"] == 8
    assert Path(first["output"]).is_file()
    assert latest(stage.FOLDER) == {key: value for key, value in first.items() if key != "output"}


def test_the_table_says_how_much_slower_it_has_become() -> None:
    text = table([result(slow=2.0), result("new")], told(result()))
    assert "signal → sent 2.00 ×" in text
    assert text.count("×") == 3
    assert "against" not in table([result()], None)


def test_the_run_before_is_the_last_file_of_this_format(tmp_path: Path) -> None:
    assert latest(tmp_path) is None
    (tmp_path / "2024-01-02.json").write_text('{"format": 1, "n": 2}')
    (tmp_path / "2024-01-01.json").write_text('{"format": 1, "n": 1}')
    (tmp_path / "2024-01-03.json").write_text('{"format": 99}')
    assert latest(tmp_path) == {"format": 1, "n": 2}


def test_orders_that_are_not_filled_fail_the_run(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(*_: object) -> list[Result]:
        return [result(), result("500/h", 9)]

    monkeypatch.setattr(stage, "_run", run)
    with pytest.raises(CheckFailed, match=r"fewer than 99.0% of the orders were filled: 500/h"):
        stress(60, 1, 7, 0.99, as_json=False)
    assert len(list(stage.FOLDER.glob("*.json"))) == 1


@pytest.mark.parametrize(("speed", "hours"), [(0.0, 1.0), (1.0, -1.0)])
def test_a_speed_or_time_of_nothing_is_refused(speed: float, hours: float) -> None:
    with pytest.raises(BadInput, match="above 0"):
        stress(speed, hours, 7, 0.99, as_json=True)


@pytest.mark.parametrize("least", [5.0, -0.1, float("nan")])
def test_a_share_that_is_none_is_refused(least: float) -> None:
    with pytest.raises(BadInput, match="share from 0 to 1"):
        stress(60, 1, 7, least, as_json=True)
