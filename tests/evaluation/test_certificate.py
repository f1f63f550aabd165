"""The certificate: what it says survives its JSON, what it does not say is refused."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.evaluation.certificate import Certificate, from_json, read, valid_for
from pipeline.evaluation.leaks.findings import CHECKS, Finding

MANIFEST: dict[str, Any] = {
    "name": "demo",
    "models": {"up_gb": {"file": "up-gb.txt", "sha256": "aa"}},
    "features": ["rsi", "sma"],
    "hashes": {"config": "c", "code": "d", "features/BTCUSDT.parquet": "e", "custom/mine.py:f": "f"},
    "versions": {"numpy": "2.3", "talib": "0.8"},
}


def certificate(**changes: Any) -> Certificate:
    findings = [Finding(check, "feature", name, ("BTCUSDT",), 10, 0) for check in CHECKS for name in ("rsi", "sma")]
    values: dict[str, Any] = {
        "name": "demo",
        "mode": "fast",
        "until": "2024-01-01T00:00Z",
        "findings": tuple(findings),
        "hashes": dict(MANIFEST["hashes"]) | {"merged/BTCUSDT.parquet": "g"},
        "models": {"up_gb": "aa"},
        "versions": dict(MANIFEST["versions"]),
        "lookback": {"custom/mine.py:f": 20},
    }
    return Certificate(**(values | changes))


def test_certificate_in_a_manifest_vouches_for_it() -> None:
    manifest = json.loads(json.dumps({**MANIFEST, "certificate": certificate().json()}))
    found = read(manifest)
    assert found == certificate()
    assert found is not None and valid_for(found, manifest) is None
    assert read(MANIFEST) is None


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (("models", "up_gb", "sha256"), "another model 'up_gb'"),
        (("hashes", "config"), "another config"),
        (("hashes", "code"), "another code"),
        (("hashes", "features/BTCUSDT.parquet"), "another features/BTCUSDT.parquet"),
        (("hashes", "custom/mine.py:f"), "another custom/mine.py:f"),
        (("versions", "talib"), "another talib"),
    ],
)
def test_any_other_bundle_is_not_vouched_for(path: tuple[str, ...], reason: str) -> None:
    manifest = copy.deepcopy(MANIFEST)
    inner = manifest
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = "other"
    assert reason in (valid_for(certificate(), manifest) or "")


def test_model_or_feature_that_was_not_there_is_not_vouched_for() -> None:
    assert "low_gb" in (valid_for(certificate(), {**MANIFEST, "models": {"low_gb": {"sha256": "aa"}}}) or "")
    assert "'atr'" in (valid_for(certificate(), {**MANIFEST, "features": ["rsi", "atr"]}) or "")


def test_failed_or_incomplete_certificate_vouches_for_nothing() -> None:
    findings = list(certificate().findings)
    failed = Finding("truncation", "feature", "rsi", ("BTCUSDT",), 10, 3)
    assert "truncation: rsi" in (valid_for(certificate(findings=(failed, *findings[1:])), MANIFEST) or "")
    without = tuple(one for one in findings if one.check != "prefix stability")
    assert "no prefix stability" in (valid_for(certificate(findings=without), MANIFEST) or "")


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in _leaves(inner, (*path, key))]
    if isinstance(value, list):
        return [leaf for key, inner in enumerate(value) for leaf in _leaves(inner, (*path, key))]
    return [path]


@given(st.sampled_from(_leaves(certificate().json())), st.one_of(st.integers(0, 9), st.text(max_size=3), st.booleans()))
def test_any_change_of_its_content_is_noticed(path: tuple[Any, ...], value: Any) -> None:
    changed = certificate().json()
    inner: Any = changed
    for key in path[:-1]:
        inner = inner[key]
    if type(inner[path[-1]]) is type(value) and inner[path[-1]] == value:
        return
    inner[path[-1]] = value
    with pytest.raises(BadInput, match="certificate"):
        from_json(changed, "manifest")


@pytest.mark.parametrize("value", [3, [], {}, {"format": 1}, {"format": 2}])
def test_what_is_no_certificate_is_refused(value: Any) -> None:
    with pytest.raises(BadInput, match="manifest of demo"):
        read({"name": "demo", "certificate": value})


def test_resealed_lie_about_the_result_is_noticed() -> None:
    # Whoever makes the seal anew has to change every finding as well: the summary follows from them.
    from pipeline.artifacts import sha256_json

    failed = Finding("truncation", "feature", "rsi", ("BTCUSDT",), 10, 3)
    value = certificate(findings=(failed,)).json()
    value["passed"] = value["checks"][0]["passed"] = True
    value["seal"] = sha256_json({key: part for key, part in value.items() if key != "seal"})
    with pytest.raises(BadInput, match="says other than its findings"):
        from_json(value, "manifest")
