"""`pipeline retrain`: new bars, a new bundle beside the old, and `current` moved on to it at the very end.

The stages run in runs/retrain-NAME, never on DVC's outs: DVC deletes those before it runs a stage, and
whoever serves a model must not lose it. Whatever fails, and whenever, `current` names what it named before.
"""

import contextlib
import datetime as dt
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.artifacts import (
    Layout,
    exclusive,
    read_json,
    replace_folder,
    sha256_file,
    sha256_json,
    write_json,
    write_text,
)
from pipeline.config import Config
from pipeline.errors import BadInput, CheckFailed, MissingInput, PipelineError, StorageError
from pipeline.evaluation.certificate import Certificate, valid_for
from pipeline.evaluation.leaks.findings import table
from pipeline.evaluation.promotions import RETIRED, RETRAIN
from pipeline.stages.chain import learns
from pipeline.stages.drift import look
from pipeline.stages.reporting import Plan, print_json
from pipeline.stages.runner import Options, plan_stage, run_stage
from pipeline.stages.standing import enter, named, promotions
from pipeline.stages.track_record import FILE as RECORD
from pipeline.stages.track_record import track_record
from pipeline.stages.verify import certificate_for, certify, require_passed

# Whether there is drift can be told after these.
DATA = ("download", "merge", "features", "labels")


def stages_of(config: Config) -> list[str]:
    """The stages of a retraining; the scores that the signals read decide between the two kinds of predictions."""
    scores = "predict-rolling" if config.signals.predictions == "rolling" else "predict"
    return ["download", "merge", "features", "labels", "train", scores, "signals", "simulate"]


def retrain(options: Options, keep: int) -> None:
    """Run the stages, store the bundle, switch `current`, prune, and print one line.

    keep: bundles that stay, newest first; the current one always does.
    Raises BadInput: another retraining of this config is running. Otherwise the error of the stage that
    failed, with its name. BadInput as well: there is no model.
    """
    config, layout = _loaded(options)
    work = _work(config)
    if options.dry_run:
        print(_plan(config, layout, work).text())
        return
    start = time.perf_counter()
    with _alone(config, layout):
        _run(config, layout, work, stages_of(config))
        _finish(config, layout, work, keep, start, options.json)


def retrain_if_drift(options: Options, keep: int) -> None:
    """Fetch new bars, and retrain only if the current bundle has drifted away from them, or there is none.

    Prints one line in either case. Arguments and errors are those of `retrain`.
    """
    config, layout = _loaded(options)
    work = _work(config)
    if options.dry_run:
        print(_plan(config, layout, work, [f"only if there is drift, looked for after {DATA[-1]}"]).text())
        return
    start = time.perf_counter()
    with _alone(config, layout):
        _run(config, layout, work, DATA)
        reason = _reason(config, layout, work)
        if reason is None:
            _say_none(config, layout, options.json)
            return
        with _log(work.data.parent / "retrain.log", "a"):
            print(f"retrain: {reason}", file=sys.stderr, flush=True)
        _run(config, layout, work, [stage for stage in stages_of(config) if stage not in DATA], "a")
        _finish(config, layout, work, keep, start, options.json)


def _loaded(options: Options) -> tuple[Config, Layout]:
    config, layout = options.load()
    if not learns(config):
        # Said before years of bars are fetched for a training that cannot be.
        error = BadInput(
            "signals.predictions: features: there is no model to retrain",
            "rules need no bundle: `pipeline serve` trades them as they stand in the config",
        )
        options.explain(error)
        raise error
    return config, layout


def _work(config: Config) -> Layout:
    return Layout.in_workdir(config.name, Path("runs") / f"retrain-{config.name}")


def _alone(config: Config, layout: Layout) -> contextlib.AbstractContextManager[None]:
    lock = layout.data / ".locks" / f"{config.name}.retrain.lock"
    return exclusive(lock, f"`pipeline retrain` of '{config.name}'")


def _finish(config: Config, layout: Layout, work: Layout, keep: int, start: float, as_json: bool) -> None:
    _certify(config, layout, work)
    bundle = store_bundle(work, layout)
    # What sends orders is replaced by `pipeline promote` alone.
    known = promotions(layout).standing()
    stage = known.stage(bundle)
    # The same bars give the bundle again that `pipeline rollback` has left: who went back from it did not want it.
    takes_over = stage != RETIRED and known.gives_way(bundle, stage)
    manifest = read_json(layout.bundles / bundle / "manifest.json", "retrain")
    enter(layout, RETRAIN, bundle, stage, takes_over, str(manifest["created"]), content(layout, bundle))
    # The new one stays, too, where it is not the current one.
    prune_bundles(layout, keep if takes_over else keep + 1)
    _say(config, layout, work, bundle, time.perf_counter() - start, as_json)


def _reason(config: Config, layout: Layout, work: Layout) -> str | None:
    # Why to train anew; None if the current bundle still fits its market.
    current = current_bundle(layout)
    if current is None:
        return "there is no bundle yet"
    if "drift" not in read_json(layout.bundles / current / "manifest.json", "retrain"):
        return f"{current} does not say what it was trained on"
    try:
        found = look(config, work, layout.bundles / current)
    except PipelineError as error:
        raise _failed(config, layout, "drift", error) from error
    alarms = [f"{one.symbol}: {one.alarm}" for one in found if one.alarm]
    return "; ".join(alarms) or None


def current_bundle(layout: Layout) -> str | None:
    """Name of the bundle that decides, or None before the first."""
    return named(layout)


def store_bundle(work: Layout, layout: Layout) -> str:
    """Copy the trained models and their evidence to `bundles/`, verified; returns the bundle's id.

    The certificate that `pipeline verify` left for just these models goes into the bundle's manifest; without one, or
    with one of other models, data or code, the bundle has none. The id is the time of the last bar and a hash of the
    content, certificate included: the same training twice is one bundle. `record.json` is the track record of its
    simulation, which the gate judges.
    Raises CheckFailed: a model file is not the one that the manifest describes.
    """
    manifest = read_json(work.trained / "manifest.json", "train")
    certificate = certificate_for(work, manifest)
    if certificate is not None:
        manifest["certificate"] = certificate.json()
    sources = {path.name: path for path in sorted(work.trained.iterdir()) if path.is_file()}
    sources |= {path.name: path for path in (work.simulation / "metrics.json", work.folds) if path.is_file()}
    del sources["manifest.json"]
    hashes = {name: sha256_file(path) for name, path in sources.items()}
    record = None
    if (work.simulation / "equity.parquet").is_file():
        record = json.dumps(track_record(work).json(), allow_nan=False) + "\n"
        hashes[RECORD] = hashlib.sha256(record.encode()).hexdigest()
    bundle = bundle_id(hashes, manifest)

    def copy(folder: Path) -> None:
        for name, path in sources.items():
            shutil.copyfile(path, folder / name)
        if record is not None:
            write_text(folder / RECORD, record)
        write_json(folder / "manifest.json", manifest)
        verify(folder, hashes, manifest)

    if (layout.bundles / bundle).is_dir():
        verify(layout.bundles / bundle, hashes, manifest)
        return bundle
    try:
        replace_folder(layout.bundles / bundle, copy)
    except OSError as error:
        raise StorageError(f"{layout.bundles / bundle}: cannot be written: {error.strerror}") from error
    return bundle


def bundle_id(hashes: Mapping[str, str], manifest: Mapping[str, Any]) -> str:
    """The time of the last bar, and a hash of all files. hashes: of those beside the manifest."""
    last = dt.datetime.fromisoformat(manifest["created"])
    return f"{last:%Y%m%dT%H%M}-{sha256_json([dict(sorted(hashes.items())), manifest])[:12]}"


def content(layout: Layout, bundle: str) -> dict[str, str]:
    """SHA-256 of each file of a stored bundle.

    Raises MissingInput: it is not there, or was pruned. CheckFailed: it is not what was stored under its name.
    """
    folder = layout.bundles / bundle
    if not folder.is_dir():
        raise MissingInput(f"{folder}: there is no such bundle, or it was pruned", "`pipeline bundles` lists them")
    hashes = {path.name: sha256_file(path) for path in folder.iterdir() if path.is_file()}
    own = {name: sha256 for name, sha256 in hashes.items() if name != "manifest.json"}
    manifest = read_json(folder / "manifest.json", "retrain")
    if not isinstance(manifest, dict) or "created" not in manifest or bundle_id(own, manifest) != bundle:
        raise CheckFailed(f"{folder}: is not what was stored under this name: a file was altered", "it cannot be used")
    return hashes


def verify(folder: Path, hashes: dict[str, str], manifest: dict[str, Any]) -> None:
    """Check a bundle's files against their hashes and against its manifest, before anyone parses them."""
    for name, expected in hashes.items():
        if not (folder / name).is_file() or sha256_file(folder / name) != expected:
            raise CheckFailed(f"{folder / name}: is not what was trained", "remove the bundle and retrain")
    if read_json(folder / "manifest.json", "train") != manifest:
        raise CheckFailed(f"{folder / 'manifest.json'}: is not what was trained", "remove the bundle and retrain")
    for model in manifest["models"].values():
        if hashes.get(model["file"]) != model["sha256"]:
            raise CheckFailed(f"{folder / model['file']}: differs from its manifest", "run `pipeline train` again")


def prune_bundles(layout: Layout, keep: int) -> None:
    """Remove all but the newest `keep` bundles; never the current one, nor one that has passed a step or may come
    back."""
    needed = {current_bundle(layout), *promotions(layout).standing().kept}
    bundles = sorted(path for path in layout.bundles.iterdir() if path.is_dir() and not path.name.startswith("."))
    others = [path for path in bundles if path.name not in needed]
    for path in others[: max(len(others) - (keep - 1), 0)]:
        shutil.rmtree(path)


def _run(config: Config, layout: Layout, work: Layout, stages: Sequence[str], mode: str = "w") -> None:
    # mode: of opening the log, as `open` has it.
    run_lock = layout.data / ".locks" / f"{config.name}.lock"
    work_lock = work.data / ".locks" / f"{config.name}.lock"
    with _log(work.data.parent / "retrain.log", mode):
        for stage in stages:
            # data/raw is shared with `pipeline download` and `dvc repro`; the rest is in the work folder.
            lock = run_lock if stage == "download" else work_lock
            try:
                with exclusive(lock, f"another stage of '{config.name}'"):
                    print(run_stage(stage, config, work).text(), file=sys.stderr, flush=True)
            except PipelineError as error:
                raise _failed(config, layout, stage, error) from error


def _certify(config: Config, layout: Layout, work: Layout) -> None:
    work_lock = work.data / ".locks" / f"{config.name}.lock"
    with _log(work.data.parent / "retrain.log", "a"):
        try:
            with exclusive(work_lock, f"another stage of '{config.name}'"):
                certificate = certify(config, work, "fast")
                print(table(certificate.findings), file=sys.stderr, flush=True)
                require_passed(certificate)
                _require_its_own(certificate, work)
        except PipelineError as error:
            raise _failed(config, layout, "verify", error) from error


def _require_its_own(certificate: Certificate, work: Layout) -> None:
    # Somebody may have changed code or files between the stages.
    if reason := valid_for(certificate, read_json(work.trained / "manifest.json", "train")):
        raise CheckFailed(f"the certificate does not vouch for what was trained: {reason}", "run the command again")


def _failed(config: Config, layout: Layout, stage: str, error: PipelineError) -> PipelineError:
    current = current_bundle(layout) or "not set"
    message = f"retrain {config.name}: failed in {stage}: {error.message} (current bundle stays {current})"
    narrowed = type(error) if isinstance(error, BadInput | CheckFailed) else None
    if narrowed is not None:
        return narrowed(message, error.hint)
    wrapped = PipelineError(message, error.hint)
    wrapped.exit_code = error.exit_code
    return wrapped


@contextlib.contextmanager
def _log(path: Path, mode: str = "w") -> Iterator[None]:
    # cron mails what a job prints: there the stages' summaries and progress go to a file instead.
    if sys.stderr.isatty():
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open(mode, encoding="utf-8") as file, contextlib.redirect_stderr(file):
        yield


def _plan(config: Config, layout: Layout, work: Layout, more: Sequence[str] = ()) -> Plan:
    plan = plan_stage("download", config, layout)
    outputs = [work.run, work.trained, layout.bundles / "<last bar>-<hash>", layout.current]
    stages = [*stages_of(config), "verify"]
    notes = [f"stages: {', '.join(stages)}", f"current bundle: {current_bundle(layout) or 'none'}", *more]
    return Plan("retrain", plan.inputs, [*plan.outputs, *outputs], notes=[*plan.notes, *notes])


def _say_none(config: Config, layout: Layout, as_json: bool) -> None:
    bundle = current_bundle(layout)
    if as_json:
        print_json({"stage": "retrain", "name": config.name, "bundle": bundle, "drift": False})
        return
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    print(f"{now} retrain {config.name} no drift, bundle={bundle} stays")


def _say(config: Config, layout: Layout, work: Layout, bundle: str, seconds: float, as_json: bool) -> None:
    metrics = read_json(work.simulation / "metrics.json", "simulate")
    headline = metrics["headline"]
    values: dict[str, Any] = {
        "bundle": bundle,
        "until": metrics["period"]["end"],
        "return": headline["total_return"],
        "sharpe": headline["sharpe"],
        "trades": headline["trades"],
        "seconds": round(seconds, 1),
    }
    if (current := current_bundle(layout)) != bundle:
        values["current"] = f"{current} (stays)"
    if as_json:
        print_json({"stage": "retrain", "name": config.name, **values, "path": str(layout.bundles / bundle)})
        return
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    shown = " ".join(f"{key}={_short(value)}" for key, value in values.items())
    print(f"{now} retrain {config.name} ok {shown}")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
