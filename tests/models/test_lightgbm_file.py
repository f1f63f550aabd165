"""A model file by LightGBM's C library alone is the one that its Python package reads."""

import subprocess
import sys
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pytest

from pipeline.models.lightgbm_file import ModelFile

# Among others a value that is missing, one that LightGBM takes for zero, and more than a float has.
STRANGE = np.array([np.nan, 1e-40, -np.inf, 3e38], np.float32)


def rows(n: int = 400) -> np.ndarray:
    features = np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)
    features[:4] = STRANGE
    return np.asfortranarray(features)


@pytest.fixture(scope="module", params=["binary", "regression"])
def trained(request: pytest.FixtureRequest) -> lgb.Booster:
    features = rows()
    y = (features[:, 1] > 0).astype(float)
    settings = {"objective": request.param, "verbosity": -1, "num_threads": 1, "deterministic": True}
    return lgb.train(settings, lgb.Dataset(features, y), 30)


def test_scores_are_the_packages(trained: lgb.Booster) -> None:
    features = rows(3000)
    mine, theirs = ModelFile(trained.model_to_string()), lgb.Booster(model_str=trained.model_to_string())
    expected = theirs.predict(features, num_threads=1)
    for threads in (1, 2):
        assert mine.predict(features, threads).tobytes() == expected.tobytes()
    assert mine.predict(features[7:8]).tobytes() == expected[7:8].tobytes()
    assert mine.predict(features[:0]).shape == (0,)


def test_its_text_is_the_packages(trained: lgb.Booster) -> None:
    text = trained.model_to_string()
    assert text.startswith(ModelFile(text).model_to_string().rstrip("\n"))


def test_a_text_of_any_length_is_whole(trained: lgb.Booster, monkeypatch: pytest.MonkeyPatch) -> None:
    text = ModelFile(trained.model_to_string()).model_to_string()
    monkeypatch.setattr("pipeline.models.lightgbm_file._ROOM", 100)
    assert ModelFile(trained.model_to_string()).model_to_string() == text


def test_reading_one_imports_no_package_and_prints_nothing(trained: lgb.Booster, tmp_path: Path) -> None:
    path = tmp_path / "model.txt"
    path.write_text(trained.model_to_string())
    script = (
        "import sys; from pathlib import Path; from pipeline.models.lightgbm_file import ModelFile\n"
        f"ModelFile(Path({str(path)!r}).read_text())\n"
        "print(sorted({'lightgbm', 'scipy', 'sklearn', 'pandas'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
