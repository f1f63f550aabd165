"""A bundle: model files as text, and one manifest that says what they are and proves they are whole.

Files are compared with their SHA-256 before they are parsed: LightGBM's own parser ends the process on
most damaged files, and loads some of them silently.
"""

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.artifacts import read_json, sha256_file, write_json, write_text
from pipeline.errors import BadInput
from pipeline.models import calibration
from pipeline.models.fitting import Fitted
from pipeline.models.lightgbm_file import ModelFile
from pipeline.models.linear import LinearModel
from pipeline.models.second import SecondModel

FORMAT = 1
# What readers of a manifest rely on.
_REQUIRED = {"models": dict, "features": list, "interval": str, "train": dict, "config": dict, "versions": dict}


@dataclass(frozen=True)
class Bundle:
    """Loaded models.

    manifest: see `save`. models: `{label}_{algorithm}` → model, in the manifest's order. second: the same of models
    that judge the signals of the others.
    """

    manifest: Mapping[str, Any]
    models: Mapping[str, Fitted]
    second: Mapping[str, SecondModel] = field(default_factory=dict)

    @property
    def features(self) -> list[str]:
        """Feature columns in the order that the models are given them; each knows which of them it uses."""
        return list(self.manifest["features"])

    def score(self, row: npt.NDArray[np.float32]) -> dict[str, float]:
        """Scores of one feature row [k]; equal to the last bit to those of a table."""
        return {name: float(model.predict(row.reshape(1, -1))[0]) for name, model in self.models.items()}


def save(
    folder: Path,
    manifest: dict[str, Any],
    models: Mapping[str, tuple[str, Fitted]],
    second: Mapping[str, tuple[str, SecondModel]] | None = None,
) -> None:
    """Write model files and `manifest.json`, which is completed by each file's name and hash.

    manifest: has "features", the names of all features that the models were given, and "models": name → facts. Models
    that use some of them only get "features" of their own, and the bundle asks for no more than one of them uses.
    models: name → (file stem, model). second: the same of second-stage models, which use all features; their facts are
    under "second" in the manifest.
    """
    given = manifest["features"]
    used: set[str] = set()
    for name, (stem, model) in models.items():
        manifest["models"][name] |= _write_model(folder, stem, model)
        own = given if model.columns is None else [given[j] for j in model.columns]
        if model.columns is not None:
            manifest["models"][name]["features"] = own
        used.update(own)
    for name, (stem, judge) in (second or {}).items():
        manifest["second"][name] |= _write_model(folder, stem, judge.model) | {"reads": list(judge.reads)}
        used.update(given)
    manifest["features"] = [name for name in given if name in used]
    write_json(folder / "manifest.json", manifest)


def _write_model(folder: Path, stem: str, model: Fitted) -> dict[str, Any]:
    # Its files; their names and hashes, for the manifest.
    path = folder / f"{stem}{model.suffix}"
    write_text(path, model.text())
    facts: dict[str, Any] = {"file": path.name, "sha256": sha256_file(path)}
    if model.curve is not None:
        curve = folder / f"{stem}.calibration.json"
        write_text(curve, calibration.to_json(model.curve))
        made = {"method": calibration.method_of(model.curve), "file": curve.name, "sha256": sha256_file(curve)}
        facts["calibration"] = made
    return facts


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle, its models' files not yet looked at.

    Raises MissingInput: there is none. BadInput: it is damaged, or lacks what `save` writes.
    """
    path = folder / "manifest.json"
    manifest = read_json(path, "train")
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BadInput(f"{path}: is not a manifest of format {FORMAT}", "run `pipeline train` again")
    for key, kind in _REQUIRED.items():
        if not (isinstance(manifest.get(key), kind) and manifest[key]):
            raise BadInput(f"{path}: '{key}' is missing or damaged", "run `pipeline train` again")
    for name, facts in manifest["models"].items():
        if not (isinstance(facts, dict) and facts.keys() >= {"file", "sha256", "kind", "objective", "rounds"}):
            raise BadInput(f"{path}: model '{name}' is damaged", "run `pipeline train` again")
        own = facts.get("features", [])
        if not isinstance(own, list) or not set(own) <= set(manifest["features"]):
            raise BadInput(f"{path}: model '{name}' uses features that it does not list", "run `pipeline train` again")
    second = manifest.get("second", {})
    needed = {"file", "sha256", "kind", "objective", "rounds", "reads"}
    if not isinstance(second, dict) or not all(isinstance(f, dict) and f.keys() >= needed for f in second.values()):
        raise BadInput(f"{path}: 'second' is damaged", "run `pipeline train` again")
    return manifest


def load(folder: Path) -> Bundle:
    """Verify and load a bundle.

    Raises MissingInput: there is none. BadInput: a file is missing or altered, the manifest is damaged,
    or TA-Lib or LightGBM is another version than the one that trained (features would differ in bits).
    """
    manifest = read_manifest(folder)
    verify(folder, manifest)
    current = versions()
    for library in ("lightgbm", "talib"):
        trained = manifest["versions"].get(library)
        if trained != current[library]:
            raise BadInput(
                f"{folder}: trained with {library} {trained}, but {current[library]} is installed",
                "install that version or train again",
            )
    models = {name: _load_model(folder, facts, manifest["features"]) for name, facts in manifest["models"].items()}
    second = {
        name: SecondModel(_load_model(folder, facts, manifest["features"]), tuple(facts["reads"]))
        for name, facts in manifest.get("second", {}).items()
    }
    return Bundle(manifest, models, second)


def verify(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Compare every model and calibration file with the manifest. Raises BadInput: missing or altered; names it."""
    models = [*manifest["models"].values(), *manifest.get("second", {}).values()]
    for facts in [*models, *(own["calibration"] for own in models if "calibration" in own)]:
        path = folder / facts["file"]
        if not path.is_file():
            raise BadInput(f"{path}: missing, though manifest.json lists it", "run `pipeline train` again")
        if sha256_file(path) != facts["sha256"]:
            raise BadInput(
                f"{path}: altered or damaged: its SHA-256 is not the manifest's", "run `pipeline train` again"
            )


def _load_model(folder: Path, facts: Mapping[str, Any], given: list[str]) -> Fitted:
    text = (folder / facts["file"]).read_text(encoding="utf-8")
    classification = facts["objective"] == "classification"
    columns = tuple(given.index(name) for name in facts["features"]) if "features" in facts else None
    curve = None
    if "calibration" in facts:
        curve = calibration.from_json((folder / facts["calibration"]["file"]).read_text(encoding="utf-8"))
    if facts["kind"] == "linear":
        return Fitted(LinearModel.from_json(text), "linear", classification, facts["rounds"], columns, curve)
    return Fitted(ModelFile(text), "lightgbm", classification, facts["rounds"], columns, curve)


def versions() -> dict[str, str]:
    """Versions of what the result depends on."""
    from importlib.metadata import version

    import pipeline
    from pipeline.features.talib_functions import library_version

    names = {"lightgbm": "lightgbm", "numpy": "numpy", "scikit-learn": "scikit-learn", "pyarrow": "pyarrow"}
    return {
        "pipeline": pipeline.__version__,
        "python": platform.python_version(),
        **{name: version(package) for name, package in names.items()},
        "talib": f"{version('TA-Lib')} (C {library_version()})",
    }


def code_hash() -> str:
    """SHA-256 over the sources that scores depend on."""
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for part in ("features", "labels", "models", "market"):
        for path in sorted((package / part).rglob("*.py")):
            digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
