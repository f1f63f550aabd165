"""Fits, files and bundles."""

import json

import lightgbm as lgb
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from pipeline.artifacts import sha256_file
from pipeline.errors import BadInput
from pipeline.models import bundle, linear
from pipeline.models.fitting import Fitted
from pipeline.models.lightgbm import BinnedRows, predict

NAMES = [f"x{j}" for j in range(6)]


def _rows(n: int = 3000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = np.asfortranarray(rng.normal(size=(n, 6)).astype(np.float32))
    return features, (features[:, 0] + 0.5 * features[:, 1] ** 2 + rng.normal(size=n) > 0.5).astype(np.float64)


def _booster(rounds: int = 20, **options):
    features, y = _rows()
    rows = np.arange(len(y))
    return BinnedRows(features, NAMES, {}).fit(
        rows, y, classification=True, rounds=rounds, params={}, seed=1, **options
    )


def test_logistic_regression_equals_scikit_learn():
    features, y = _rows()
    model = linear.fit(features, y, classification=True, iterations=500, params={"tol": 1e-10})
    scaler = StandardScaler().fit(features.astype(np.float64))
    reference = LogisticRegression(max_iter=500, tol=1e-10).fit(scaler.transform(features.astype(np.float64)), y)
    expected = reference.predict_proba(scaler.transform(features.astype(np.float64)))[:, 1]
    np.testing.assert_allclose(model.predict(features), expected, atol=1e-12)


def test_a_linear_model_survives_its_file_to_the_last_bit():
    features, y = _rows()
    model = linear.fit(features, y, classification=True, iterations=200, params={})
    again = linear.LinearModel.from_json(model.to_json())
    assert np.array_equal(again.predict(features), model.predict(features))


@pytest.mark.parametrize("kind", ["linear", "lightgbm"])
def test_one_row_scores_as_it_does_among_many(kind):
    features, y = _rows()
    if kind == "linear":
        fitted = Fitted(linear.fit(features, y, classification=True, iterations=99, params={}), kind, True, 99)
    else:
        fitted = Fitted(_booster(), kind, True, 20)
    many = fitted.predict(features)
    assert all(fitted.predict(features[i : i + 1])[0] == many[i] for i in range(0, 3000, 97))


def test_a_fit_asks_for_one_thread_in_each_of_its_calls(monkeypatch):
    # LightGBM's number of threads is the process's: another one asked for beside a fit has crashed the interpreter.
    features, y = _rows()
    binned = BinnedRows(features, NAMES, {}, None, threads=3)
    asked = []
    written = lgb.basic._param_dict_to_str
    monkeypatch.setattr(lgb.basic, "_param_dict_to_str", lambda data: asked.append(written(data)) or asked[-1])
    rows, held_out = np.arange(2000), np.arange(2000, 3000)
    binned.fit(
        rows, y[rows], classification=True, rounds=5, params={}, seed=0, validation=(held_out, y[held_out]),
        early_stopping=2,
    )  # fmt: skip
    told = [words for words in asked if words]
    assert len(told) >= 3 and all("num_threads=1" in words.split() for words in told)


def test_shared_bins_give_the_scores_of_a_dataset_made_for_one_label():
    import lightgbm as lgb

    features, y = _rows()
    rows = np.arange(len(y))
    shared = BinnedRows(features, NAMES, {}).fit(rows, y, classification=True, rounds=5, params={}, seed=0)
    settings = {"objective": "binary", "verbosity": -1, "num_threads": 1, "deterministic": True, "seed": 0}
    own = lgb.train(settings | {"force_row_wise": True}, lgb.Dataset(features, y), 5)
    np.testing.assert_array_equal(predict(shared, features), own.predict(features))


def test_bins_come_from_the_past_only():
    features, y = _rows()
    changed = features.copy(order="F")
    changed[2000:] *= 50
    past = np.arange(1000)
    models = [
        BinnedRows(f, NAMES, {}, past).fit(past, y[past], classification=True, rounds=5, params={}, seed=0)
        for f in (features, changed)
    ]
    assert models[0].model_to_string() == models[1].model_to_string()


def test_the_same_seed_gives_the_same_file_and_threads_of_binning_do_not_matter():
    features, y = _rows()
    rows = np.arange(len(y))
    texts = {
        BinnedRows(features, NAMES, {}, None, threads)
        .fit(rows, y, classification=True, rounds=9, params={"feature_fraction": 0.5}, seed=3)
        .model_to_string()
        for threads in (1, 2, 1)
    }
    assert len(texts) == 1


def _saved(folder):
    manifest = {
        "format": bundle.FORMAT,
        "features": NAMES,
        "interval": "5m",
        "config": {"interval": "5m"},
        "train": {"label_end": "2024-01-01T00:00Z"},
        "versions": bundle.versions(),
        "models": {"up_gb": {"kind": "lightgbm", "objective": "classification", "rounds": 20}},
    }
    bundle.save(folder, manifest, {"up_gb": ("up-gb", Fitted(_booster(), "lightgbm", True, 20))})
    return folder


def test_a_bundle_gives_the_scores_it_was_saved_with(tmp_path):
    loaded = bundle.load(_saved(tmp_path))
    features, _ = _rows()
    assert loaded.score(features[7])["up_gb"] == _booster().predict(features[7:8])[0]


@pytest.mark.parametrize("damage", ["cut", "flip", "delete"])
def test_a_damaged_model_file_is_named_and_never_parsed(tmp_path, damage, monkeypatch):
    path = _saved(tmp_path) / "up-gb.txt"
    content = path.read_bytes()
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes(
            content[:900] if damage == "cut" else content[:200] + bytes([content[200] ^ 1]) + content[201:]
        )
    monkeypatch.setattr(bundle, "ModelFile", lambda _: pytest.fail("parsed"))
    with pytest.raises(BadInput, match=r"up-gb\.txt"):
        bundle.load(tmp_path)


def test_another_version_of_talib_or_lightgbm_is_noticed(tmp_path):
    path = _saved(tmp_path) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["versions"]["talib"] = "0.6.0"
    path.write_text(json.dumps(manifest))
    with pytest.raises(BadInput, match=r"trained with talib 0\.6\.0"):
        bundle.load(tmp_path)


def test_no_model_file_is_a_pickle(tmp_path):
    for path in _saved(tmp_path).iterdir():
        assert path.suffix in (".txt", ".json")
        assert path.read_bytes()[:1] != b"\x80"
        assert sha256_file(path)
