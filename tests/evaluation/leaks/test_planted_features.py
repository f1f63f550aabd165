"""Features that have seen the future, planted as a user would: a custom function that looks it up."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evaluation.leaks import world

from pipeline.errors import CheckFailed
from pipeline.evaluation.certificate import from_json, valid_for
from pipeline.models.bundle import read_manifest
from pipeline.stages.runner import Options
from pipeline.stages.verify import certificate_path, verify
from pipeline.stages.verify_files import check_files
from pipeline.stages.verify_kept import FAST, Kept
from pipeline.stages.verify_tables import check_windows, check_worlds

# A module of the user's: values over whole tables, looked up by the newest bar of the window.
MODULE = """
import numpy as np
import pyarrow.parquet as pq

BARS = pq.read_table("data/t/merged/BTCUSDT.parquet").to_pandas()
LABELS = pq.read_table("data/t/labels/BTCUSDT.parquet").to_pandas()
TIME, CLOSE, VOLUME = BARS.open_time, BARS.close, BARS.volume

def smoothed(returns, stay=0.98):
    # Forward and backward through two regimes of volatility: what follows a bar moves the bar's own.
    sigma = np.array([0.5, 2.0]) * returns.std()
    with np.errstate(all="ignore"):
        seen = np.exp(-0.5 * (returns[:, None] / sigma) ** 2) / sigma + 1e-300
    move = np.array([[stay, 1 - stay], [1 - stay, stay]])
    forward, backward = np.empty_like(seen), np.ones_like(seen)
    state = np.array([0.5, 0.5])
    for t, row in enumerate(seen):
        state = (state @ move) * row
        forward[t] = state = state / state.sum()
    for t in range(len(seen) - 2, -1, -1):
        backward[t] = move @ (seen[t + 1] * backward[t + 1])
        backward[t] /= backward[t].sum()
    both = forward * backward
    return both[:, 1] / both.sum(axis=1)

VALUES = np.asarray({values}, float)
ROW = {{pair: row for row, pair in enumerate(zip(CLOSE, VOLUME))}}

def leak(window):
    row = ROW[window["close"][-1], window["volume"][-1]]
    return VALUES[row] if row < len(VALUES) else float("nan")
"""
PLANTS = {
    "centred window": "CLOSE.rolling(5, center=True).mean()",
    "shift(-1)": "CLOSE.shift(-1)",
    "global scaler": "(CLOSE - CLOSE.mean()) / CLOSE.std()",
    "back-fill": "VOLUME.where(VOLUME > 0).bfill()",
    "higher timeframe that is not lagged": "CLOSE.groupby(TIME.dt.floor('1h')).transform('last')",
    "resample labelled on the left edge": (
        "CLOSE.set_axis(TIME).resample('4h', label='left').mean().reindex(TIME, method='ffill')"
    ),
    "smoothed regime": "smoothed(CLOSE.pct_change().fillna(0).to_numpy())",
    "label used as feature": "LABELS.up.astype(float)",
    "target encoding over all rows": ("LABELS.up.astype(float).groupby(LABELS.open_time.dt.hour).transform('mean')"),
}


def planted(values: str) -> dict[str, object]:
    # A window as long as another feature's: the training rows stay the same, and so do the models.
    Path("mine.py").write_text(MODULE.format(values=values))
    return {"custom": {"function": "mine.py:leak", "inputs": ["close", "volume"], "lookback": 20, "names": ["leak"]}}


@pytest.mark.parametrize("values", PLANTS.values(), ids=PLANTS)
def test_feature_that_looks_ahead_is_named_and_no_other(chain: Path, values: str) -> None:
    declared = world.config(planted(values))
    world.run(declared, "features")
    kept = Kept(declared, world.LAYOUT)
    findings = [*check_worlds(kept, FAST), *check_windows(kept, FAST)]
    assert "truncation" in {one.check for one in findings if not one.passed}
    assert {one.column for one in findings if not one.passed} == {"leak"}


def test_great_backtest_of_a_leak_is_refused(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    declared = world.config(planted(PLANTS["label used as feature"]), train={**world.TRAIN, "exclude": []})
    world.run(declared, *world.CHAIN)
    manifest = read_manifest(world.LAYOUT.trained)
    assert next(iter(manifest["models"]["up_gb"]["importance"])) == "leak"
    folds = json.loads(world.LAYOUT.folds.read_text())
    assert folds["pooled"]["up_gb"]["auc"] > 0.99
    Path("t.yaml").write_text(declared.model_dump_json(exclude_none=True))
    with pytest.raises(CheckFailed, match="truncation: leak") as refusal:
        verify(Options(Path("t.yaml")), fast=True)
    assert refusal.value.exit_code == 1
    shown = capsys.readouterr().out
    assert re.search(r"^truncation +leak +[\d,]+ +[\d,]+ +FAIL +BTCUSDT: first at 2023", shown, re.MULTILINE)
    certificate = from_json(json.loads(certificate_path(world.LAYOUT).read_text()), "the certificate")
    assert "truncation: leak" in (valid_for(certificate, manifest) or "")


@pytest.mark.parametrize("read", ["np.load({path!r})", "pq.read_table({path!r})"])
def test_custom_feature_that_reads_a_file_of_its_own_is_named(chain: Path, read: str) -> None:
    # Values that were made elsewhere do not get shorter with the bars, so nothing else can tell where they are from.
    np.save("mine.npy", np.arange(5_000.0))
    pq.write_table(pa.table({"value": np.random.default_rng(0).random(5_000)}), "mine.parquet")
    path = str((chain / ("mine.npy" if "np" in read else "mine.parquet")).resolve())
    code = f"import numpy as np\nimport pyarrow.parquet as pq\nMINE = {read.format(path=path)}\n"
    Path("mine.py").write_text(f"{code}def leak(window):\n    return len(MINE) * window['close'][-1]\n")
    entry = {"custom": {"function": "mine.py:leak", "lookback": 20, "names": ["leak"]}}
    (found,) = check_files(kept := Kept(world.config(entry), world.LAYOUT))
    assert not found.passed and "reads" in found.note
    Path("mine.py").write_text("import numpy as np\ndef leak(window):\n    return np.mean(window['close'])\n")
    (found,) = check_files(kept)
    assert found.passed
