"""The ledger counts each try once, and notices every change."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import BadInput
from pipeline.evaluation.trials import ENDED, SEARCH, Search, Trial, TrialLedger


def trial(buy: float = 0.1, sets: int = 1, value: float | None = 1.5, **changes: object) -> Trial:
    fields = {"kind": "simulate", "config": "c", "data": "d", "code": "1", "seed": 0} | changes
    return Trial(**fields, what={"buy": buy}, sets=sets, metric="sharpe", value=value, time="2024-01-01")  # type: ignore[arg-type]


def test_repeated_trials_count_once_and_a_grid_counts_its_sets(tmp_path: Path) -> None:
    ledger = TrialLedger(tmp_path / "a" / "trials.jsonl")
    assert ledger.count("simulate") == 0
    ledger.append([trial(0.1), trial(0.2)])
    ledger.append([trial(0.1, value=None, code="2"), trial(0.1, kind="grid", sets=10_000)])
    assert len(ledger.read()) == 4
    assert ledger.count("simulate") == 2 and ledger.count("simulate", "grid") == 10_002
    ledger.append([trial(0.1, data="other"), trial(0.1, seed=1), trial(0.1, config="other")])
    assert ledger.count("simulate") == 5


def ended(sets: int, effective: float | None, pbo: float, config: str = "c") -> Trial:
    figures = {"pbo": pbo, "low": 0.1, "high": 0.6, "sentence": "words"}
    what = {"chose": True, "objective": "sharpe", "overfitting": figures}
    return Trial(ENDED, config, "d", "1", 0, what, sets, "pbo", pbo, "2024-01-01", None, effective)


def test_sets_of_a_search_count_as_many_as_it_found_them_to_be(tmp_path: Path) -> None:
    ledger = TrialLedger(tmp_path / "trials.jsonl")
    assert ledger.search() is None
    ledger.append([trial(0.1), *(trial(k, kind=SEARCH) for k in range(40))])
    assert (ledger.tried().count, ledger.tried().effective) == (41, 41)
    assert ledger.search() == Search(40, False)
    ledger.append([ended(40, 12.5, 0.4)])
    # What it found is no trial.
    assert (ledger.tried().count, ledger.tried().effective) == (41, 13.5)
    found = ledger.search()
    assert found and found.ended and found.overfitting and found.overfitting["pbo"] == 0.4
    # Sets that came later count for themselves until it has ended again; another search is another one.
    ledger.append([trial(40, kind=SEARCH), trial(41, kind=SEARCH)])
    assert (ledger.tried().count, ledger.tried().effective) == (43, 15.5) and ledger.search() == Search(42, False)
    ledger.append([ended(42, 14.0, 0.5)])
    assert (ledger.tried().count, ledger.tried().effective) == (43, 15.0)
    ledger.append([trial(k, kind=SEARCH, config="other") for k in range(5)])
    assert (ledger.tried().count, ledger.tried().effective) == (48, 20.0) and ledger.search() == Search(5, False)
    ledger.append([ended(5, None, 0.5, "other")])
    assert ledger.tried().effective == 20.0 and (found := ledger.search()) and found.ended


def test_every_truncation_is_recovered_or_noticed_and_every_bit_flip_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)  # a thousand times, and of no use to what is looked at here
    path = tmp_path / "trials.jsonl"
    TrialLedger(path).append([trial(k / 10) for k in range(4)])
    content = path.read_bytes()
    ends = [k + 1 for k, byte in enumerate(content) if byte == 10]
    for length in range(len(content)):
        path.write_bytes(content[:length])
        ledger = TrialLedger(path)
        whole = sum(end <= length for end in ends)
        assert len(ledger.read()) == whole
        ledger.append([trial(9.0)])
        assert len(ledger.read()) == whole + 1
        assert ledger.cut == length - ([0, *ends][whole])
    for position in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        try:
            found = TrialLedger(path).read()
        except BadInput as error:
            assert "line" in error.message
        else:
            # Only the last line's end can be flipped away: then that line never counted.
            assert position == len(content) - 1 and len(found) == 3


def test_a_removed_or_reordered_line_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    TrialLedger(path).append([trial(k / 10) for k in range(4)])
    lines = path.read_bytes().splitlines(keepends=True)
    for changed in (lines[1:], lines[:1] + lines[2:], [lines[1], lines[0], *lines[2:]]):
        path.write_bytes(b"".join(changed))
        with pytest.raises(BadInput, match="line"):
            TrialLedger(path).append([trial(0.9)])


SCRIPT = """
import sys
from pathlib import Path
from pipeline.evaluation.trials import Trial, TrialLedger
for k in range(25):
    what = {"buy": int(sys.argv[2]) + k}
    TrialLedger(Path(sys.argv[1])).append([Trial("simulate", "c", "d", "1", 0, what, 1, "sharpe", 1.5, "2024-01-01")])
"""


def test_processes_that_append_at_once_lose_nothing_and_one_that_is_killed_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    started = [subprocess.Popen([sys.executable, "-c", SCRIPT, path, str(100 * k)]) for k in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert TrialLedger(path).count("simulate") == 75
    victim = subprocess.Popen([sys.executable, "-c", SCRIPT, path, "1000"])
    while TrialLedger(path).count("simulate") < 77:
        assert victim.poll() is None
    victim.kill()
    victim.wait()
    TrialLedger(path).append([trial(-1.0)])
    assert TrialLedger(path).count("simulate") >= 78
