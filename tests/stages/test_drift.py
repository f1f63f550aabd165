"""`pipeline drift`: silent on bars like those trained on, loud on others, and honest where it cannot tell."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stages.learning import LAYOUT, config, write_inputs

from pipeline.artifacts import write_table
from pipeline.config import Config
from pipeline.errors import BadInput, CheckFailed
from pipeline.stages import drift as subject
from pipeline.stages.runner import Options, run_stage

START_DAY = "2024-01-25"
LABEL = {"highlow2": {"thresholds": [0.8], "tolerance": 0.5, "horizon": "2h", "names": ["up"]}}


@pytest.fixture
def declared(workspace: Path) -> Config:
    """Trained on three weeks; the week after is new."""
    train = {"end": START_DAY, "validation": 0.3, "algorithms": [{"name": "gb", "rounds": 15}]}
    section = {"labels": [LABEL], "train": train, "drift": {"window": "3d"}}
    sections = {"symbols", "interval", "features", "labels", "train", "drift"}
    file = config(**section).model_dump(mode="json", exclude_none=True, include=sections)
    (workspace / "t.yaml").write_text(json.dumps(file))
    made = config(**section)
    write_inputs(made)
    run_stage("train", made, LAYOUT)
    return made


def change(symbol: str, name: str, make: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change a feature from the end of the training range on."""
    path = LAYOUT.features(symbol)
    table = pq.read_table(path)
    values = table.column(name).to_numpy().copy()
    fresh = table.column("open_time").to_numpy() >= np.datetime64("2024-01-26")
    values[fresh] = make(values[fresh])
    write_table(path, table.set_column(table.schema.get_field_index(name), name, pa.array(values)))


def test_a_market_that_stays_is_no_alarm(declared: Config, capsys: pytest.CaptureFixture[str]) -> None:
    subject.drift(Options(Path("t.yaml")))
    out = capsys.readouterr().out
    assert out.count("bars since the training of MODELS/t/trained") == 2 and "ALARM" not in out
    for word in ("signal", "noise2", "score up_gb", "loss up_gb", "ADWIN", "Page-Hinkley", "calibration", "PSI", "KS"):
        assert word in out


def test_a_feature_that_moves_is_an_alarm_of_its_symbol(declared: Config, capsys: pytest.CaptureFixture[str]) -> None:
    change("BBB", "noise1", lambda values: 2 * values + 1)
    with pytest.raises(CheckFailed, match=r"drift: BBB: .*noise1 has moved") as caught:
        subject.drift(Options(Path("t.yaml")))
    assert caught.value.exit_code == 1 and "AAA" not in caught.value.message
    lines = [line for line in capsys.readouterr().out.splitlines() if line.endswith("ALARM")]
    assert any(line.split()[0] == "noise1" for line in lines)


def test_the_table_as_json(declared: Config, capsys: pytest.CaptureFixture[str]) -> None:
    subject.drift(Options(Path("t.yaml"), json=True))
    found = json.loads(capsys.readouterr().out)
    assert found["alarm"] is False and found["symbols"].keys() == {"AAA", "BBB"}
    rows = {row["what"]: row for row in found["symbols"]["AAA"]["findings"] if row["test"] == "distribution"}
    assert rows["signal"]["p"] > 0.001 and 0 < rows["signal"]["ks"] < 0.2
    assert found["symbols"]["AAA"]["judged"] is True


def test_the_figures_are_those_of_a_comparison_by_hand(declared: Config) -> None:
    one = subject.look(declared, LAYOUT, LAYOUT.trained)[0]
    found = {line.what: line for line in one.findings if line.test == "distribution"}
    manifest = json.loads((LAYOUT.trained / "manifest.json").read_text())
    table = pq.read_table(LAYOUT.features("AAA"))
    step = manifest["drift"]["stride"]
    values = table.column("signal").to_numpy().astype(float)
    times = table.column("open_time").to_numpy()
    fresh = values[times > np.datetime64(manifest["train"]["label_end"][:19])]
    looked = fresh[::step][-(manifest["drift"]["window_bars"] // step) :]
    kept = manifest["drift"]["features"]["signal"]
    actual = np.array([np.mean(looked <= edge) for edge in kept["edges"]])
    assert found["signal"].distance == pytest.approx(np.abs(actual - np.array(kept["shares"])).max(), abs=1e-12)


def test_a_model_that_is_wrong_all_at_once_is_an_alarm(declared: Config) -> None:
    for symbol in declared.symbols:
        path = LAYOUT.labels(symbol)
        table = pq.read_table(path)
        fresh = table.column("open_time").to_numpy() >= np.datetime64("2024-01-26")
        known = table.column("up").is_valid().to_numpy()
        values = table.column("up").to_pylist()
        made = [True if new and ok else value for value, new, ok in zip(values, fresh, known, strict=True)]
        write_table(path, table.set_column(table.schema.get_field_index("up"), "up", pa.array(made)))
    found = subject.look(declared, LAYOUT, LAYOUT.trained)
    alarms = {(line.what, line.test) for line in found[0].findings if line.alarm}
    assert ("outcome − score up_gb", "calibration") in alarms


def test_too_few_bars_are_said_not_judged(declared: Config, capsys: pytest.CaptureFixture[str]) -> None:
    for symbol in declared.symbols:
        for path in (LAYOUT.features(symbol), LAYOUT.labels(symbol), LAYOUT.merged(symbol)):
            table = pq.read_table(path)
            keep = table.column("open_time").to_numpy() < np.datetime64("2024-01-26")
            write_table(path, table.filter(pa.array(keep)))
    subject.drift(Options(Path("t.yaml")))
    assert "distributions are compared from 864 bars on" in capsys.readouterr().out


def test_a_bundle_without_a_reference_is_refused(declared: Config) -> None:
    path = LAYOUT.trained / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["drift"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(BadInput, match="before drift could be looked at"):
        subject.drift(Options(Path("t.yaml")))


def test_the_dry_run_names_the_inputs(declared: Config, capsys: pytest.CaptureFixture[str]) -> None:
    subject.drift(Options(Path("t.yaml"), dry_run=True))
    out = capsys.readouterr().out
    assert "MODELS/t/trained" in out and "features/BBB.parquet" in out


def test_the_same_training_remembers_the_same_reference(declared: Config) -> None:
    before = (LAYOUT.trained / "manifest.json").read_text()
    run_stage("train", declared.model_copy(update={"workers": 1}), LAYOUT)
    assert (LAYOUT.trained / "manifest.json").read_text() == before
