"""`pipeline train`: one model per label and algorithm, and the evidence that travels with them."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.artifacts import Layout, count_rows, read_table, replace_folder, sha256_file, sha256_json
from pipeline.config import Config, utc_ms
from pipeline.config.training import Algorithm
from pipeline.market import candles
from pipeline.models.drift.reference import Windows
from pipeline.models.samples import Samples
from pipeline.models.selection import Selected
from pipeline.stages.calibrating import calibrated, calibrates, calibration_parts
from pipeline.stages.drift_reference import features_of, model_reference, windows_of, without
from pipeline.stages.reporting import Plan, Summary
from pipeline.stages.samples import feature_columns, label_columns, read_samples
from pipeline.stages.second_stage import TrainedSecond, second_labels, second_sections, train_second
from pipeline.stages.times import iso
from pipeline.stages.window_fit import columns_of, held_out, select_features, selects

Indices = npt.NDArray[np.int64]
SECTIONS = ("symbols", "interval", "seed", "features", "labels", "train")
# In-sample figures need no more rows than this; they are not evidence anyway.
IN_SAMPLE_ROWS = 100_000


@dataclass(frozen=True)
class Trained:
    """One model of the bundle and what is known of it."""

    name: str
    label: str
    algorithm: Algorithm
    model: Any
    rows: Indices
    validation: dict[str, Any] | None
    in_sample: dict[str, Any]
    selection: dict[str, Any] | None
    drift: dict[str, Any]

    def features(self, names: list[str]) -> list[str]:
        """Those of the features that the model uses."""
        return names if self.model.columns is None else [names[j] for j in self.model.columns]


def plan(config: Config, layout: Layout) -> Plan:
    """Check that features and labels are there and that the columns asked for exist."""
    from pipeline.models.parameters import check_parameters

    check_parameters(config.train.algorithms)
    names, labels = feature_columns(config, layout), label_columns(config, layout)
    inputs = [path(s) for s in config.symbols for path in (layout.features, layout.labels, layout.merged)]
    second_labels(config)
    return Plan(
        "train",
        inputs,
        [layout.trained],
        sum(count_rows(layout.features(symbol), "features") for symbol in config.symbols),
        [f"{label}_{algorithm.name}" for label in labels for algorithm in config.train.algorithms],
        [f"{len(names)} features"],
    )


def run(config: Config, layout: Layout) -> Summary:
    """Train everything and replace MODELS/NAME/trained."""
    from pipeline.features import window_lengths
    from pipeline.models import bundle
    from pipeline.models.fitting import binned_rows, learns_from_bins

    names, labels = feature_columns(config, layout), label_columns(config, layout)
    samples = read_samples(config, layout, names, [*labels, *second_labels(config)], window_lengths(config))
    rows = {label: training_rows(config, samples, label) for label in labels}
    _check_targets(config, samples, rows)
    constant = _constant(samples)
    workers = config.workers or os.cpu_count() or 1
    windows = windows_of(config, samples, _union(samples, rows))
    drift = features_of(samples, windows)
    binned: dict[str, Any] = {}
    if not selects(config):
        binned = binned_rows(samples, config.train.algorithms, np.flatnonzero(_union(samples, rows)), workers)
    if learns_from_bins(config.train.algorithms) and not selects(config) and config.meta is None:
        # The matrix is the largest thing in memory, and the fits need theirs.
        samples = samples.keeping(_scored(config, samples, rows, windows))
    trained = _train_all(config, samples, binned, rows, windows, workers)
    second = _train_second(config, samples, binned, rows)
    manifest = _manifest(config, layout, samples, rows, trained)
    if second:
        manifest["second"] = {name: one.facts for name, one in second.items()}
        last = iso(max(one.label_end_ms for one in second.values()))
        manifest["train"]["label_end"] = max(manifest["train"]["label_end"], last)
    used = {name for one in trained for name in one.features(samples.names)}
    unused = set() if second else set(samples.names) - used
    manifest["drift"] = without(drift, unused) | {"models": {one.name: one.drift for one in trained}}
    models = {one.name: (f"{one.label}-{one.algorithm.name}", one.model) for one in trained}
    judges = {name: (name, one.model) for name, one in second.items()}
    replace_folder(layout.trained, lambda folder: bundle.save(folder, manifest, models, judges))
    _record(config, layout, manifest)
    summary = _summary(layout, samples, manifest, constant)
    if unfinished := [one.name for one in trained if not one.model.converged]:
        summary.warnings.append(f"not converged, raise `rounds` of the algorithm: {', '.join(unfinished)}")
    return summary


def _record(config: Config, layout: Layout, manifest: dict[str, Any]) -> None:
    from pipeline.stages.trials import record

    inputs = [path(symbol) for symbol in config.symbols for path in (layout.features, layout.labels)]
    tried = [(name, facts["validation"] or {}) for name, facts in manifest["models"].items()]
    rows = [({"model": name}, 1, "auc", scores.get("auc")) for name, scores in tried]
    record(config, layout, "fit", (*SECTIONS, *second_sections(config)), inputs, rows, manifest["created"])


def training_rows(config: Config, samples: Samples, label: str) -> Indices:
    """Rows whose label may be learnt: trainable, known, inside train.start … train.end.

    The outcome has to be known before train.end, not only the row to lie before it.
    """
    target, train = samples.targets[label], config.train
    keep = samples.trainable & target.known
    if train.start:
        keep &= samples.times >= utc_ms(train.start)
    if train.end:
        keep &= target.end_ms + samples.step_ms <= utc_ms(train.end)
    if train.length is not None and keep.any():
        keep &= samples.times > samples.times[keep].max() - config.bars(train.length) * samples.step_ms
    return np.flatnonzero(keep)


def _check_targets(config: Config, samples: Samples, rows: dict[str, Indices]) -> None:
    from pipeline.models.fitting import check_target, is_classification

    for label, chosen in rows.items():
        for algorithm in config.train.algorithms:
            classification = is_classification(algorithm, label, samples)
            check_target(label, samples.targets[label].values[chosen], classification, "the training range")


def _constant(samples: Samples) -> list[str]:
    # One column at a time: a copy of the matrix would not fit.
    columns = np.asarray(samples.features).T
    return [name for name, column in zip(samples.names, columns, strict=True) if column.min() == column.max()]


def _scored(config: Config, samples: Samples, rows: dict[str, Indices], windows: Windows) -> npt.NDArray[np.bool_]:
    # The rows that the new models are tried on.
    scored = np.zeros(len(samples.times), bool)
    scored[windows.rows] = True
    for label, chosen in rows.items():
        scored[_seen(chosen)] = True
        parts = held_out(samples, label, chosen, config.train.validation)
        if parts is not None:
            scored[parts[1]] = True
        if calibrates(config) and samples.targets[label].is_bool:
            for _, part in calibration_parts(config, samples, label, chosen, "the training range"):
                scored[part] = True
    return scored


def _seen(rows: Indices) -> Indices:
    return rows[:: -(-len(rows) // IN_SAMPLE_ROWS)]


def _train_all(
    config: Config,
    samples: Samples,
    binned: dict[str, Any],
    rows: dict[str, Indices],
    windows: Windows,
    workers: int,
) -> list[Trained]:
    from concurrent.futures import ThreadPoolExecutor

    from threadpoolctl import threadpool_limits

    tasks = [(label, algorithm) for label in rows for algorithm in config.train.algorithms]
    parts = {label: held_out(samples, label, chosen, config.train.validation) for label, chosen in rows.items()}
    ranges = [(label, chosen, "the training range") for label, chosen in rows.items()]
    ranges += [(label, part[0], "the training range before validation") for label, part in parts.items() if part]
    # Threads: LightGBM lets go of the interpreter, and they share the binned rows. BLAS gets one thread,
    # since its sums depend on how many there are.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        found = pool.map(lambda one: select_features(config, samples, *one), ranges)
        chosen = {(label, where): one for (label, _, where), one in zip(ranges, found, strict=True)}

        def train(task: tuple[str, Algorithm]) -> Trained:
            label, algorithm = task
            return _train_one(
                config, samples, binned.get(algorithm.name), label, algorithm, rows[label], windows,
                chosen[label, "the training range"], chosen.get((label, "the training range before validation")),
            )  # fmt: skip

        return list(pool.map(train, tasks))


def _train_one(
    config: Config,
    samples: Samples,
    binned: Any,
    label: str,
    algorithm: Algorithm,
    rows: Indices,
    windows: Windows,
    selected: Selected | None,
    selected_before: Selected | None,
) -> Trained:
    # The held-out part says when to stop and how good it is, so its features are chosen without it; the model that is
    # kept then learns from all rows.
    from pipeline.evaluation.scores import label_scores
    from pipeline.models.fitting import check_target, fit, is_classification

    values = samples.targets[label].values
    classification = is_classification(algorithm, label, samples)
    outcomes = values > 0 if classification and samples.targets[label].is_bool else values
    validation, rounds, unseen = None, None, None
    parts = held_out(samples, label, rows, config.train.validation)
    if parts is not None:
        early, late = parts
        check_target(label, values[early], classification, "the training range before the validation part")
        columns = columns_of(selected_before)
        trial = fit(samples, binned, label, algorithm, early, config.seed, validation=late, columns=columns)
        rounds = trial.rounds
        unseen = late, trial.predict_rows(samples.features, late)
        validation = label_scores(outcomes[late], unseen[1])
    columns = columns_of(selected)
    model = fit(samples, binned, label, algorithm, rows, config.seed, rounds=rounds, columns=columns)
    model = calibrated(config, samples, binned, label, algorithm, rows, columns, model, "the training range")
    chosen = None
    if selected is not None:
        chosen = {"method": config.train.selection.method, "kept": selected.kept, "passed": selected.passed}
    seen = _seen(rows)
    in_sample = label_scores(outcomes[seen], model.predict_rows(samples.features, seen))
    drift = model_reference(samples, label, rows, windows, model, unseen)
    return Trained(f"{label}_{algorithm.name}", label, algorithm, model, rows, validation, in_sample, chosen, drift)


def _train_second(
    config: Config, samples: Samples, binned: dict[str, Any], rows: dict[str, Indices]
) -> dict[str, TrainedSecond]:
    if config.meta is None:
        return {}
    allowed = rows | {label: training_rows(config, samples, label) for label in second_labels(config)}
    times = samples.times[np.concatenate(list(rows.values()))]
    region = (samples.times >= times.min()) & (samples.times <= times.max())
    return train_second(config, samples, binned, allowed, region)


def _manifest(
    config: Config, layout: Layout, samples: Samples, rows: dict[str, Indices], trained: list[Trained]
) -> dict[str, Any]:
    from pipeline.features import custom_hashes
    from pipeline.models import bundle

    every = _union(samples, rows)
    label_end = max(int(samples.targets[label].end_ms[chosen].max()) for label, chosen in rows.items())
    resolved = config.model_dump(mode="json", exclude_none=True)
    section = {key: resolved[key] for key in (*SECTIONS, *second_sections(config))}
    # Made from the data's own clock: the same data give the same bytes.
    last = int(samples.times.max()) + samples.step_ms
    inputs = [path(symbol) for symbol in config.symbols for path in (layout.features, layout.labels)]
    return {
        "format": bundle.FORMAT,
        "name": config.name,
        "created": iso(last),
        "symbols": list(config.symbols),
        "interval": config.interval,
        "features": samples.names,
        "origin": {s: iso(int(_first_bar(layout, s))) for s in config.symbols},
        "train": {
            "start": iso(int(samples.times[every].min())),
            "end": iso(int(samples.times[every].max())),
            "label_end": iso(label_end),
            "rows": int(every.sum()),
            "excluded": samples.excluded,
        },
        "models": {one.name: _facts(samples, one) for one in trained},
        "config": section,
        "hashes": {
            "config": sha256_json(section),
            "code": bundle.code_hash(),
            **custom_hashes(config),
            **{f"{path.parent.name}/{path.name}": sha256_file(path) for path in inputs},
        },
        "versions": bundle.versions(),
        "trials": len(trained),
    }


def _union(samples: Samples, rows: dict[str, Indices]) -> npt.NDArray[np.bool_]:
    used = np.zeros(len(samples.times), bool)
    for chosen in rows.values():
        used[chosen] = True
    return used


def _facts(samples: Samples, one: Trained) -> dict[str, Any]:
    values = samples.targets[one.label].values[one.rows]
    return {
        "label": one.label,
        "algorithm": one.algorithm.name,
        "kind": one.algorithm.kind,
        "objective": "classification" if one.model.classification else "regression",
        "file": "",
        "sha256": "",
        "rounds": one.model.rounds,
        "rows": len(one.rows),
        "base_rate": float(values.mean()) if samples.targets[one.label].is_bool else None,
        "validation": one.validation,
        "train_scores_in_sample": one.in_sample,
        "importance": one.model.importance(samples.names),
        **({} if one.selection is None else {"selection": one.selection}),
    }


def _first_bar(layout: Layout, symbol: str) -> int:
    return int(candles.times_ms(read_table(layout.merged(symbol), "merge", ["open_time"]).slice(0, 1))[0])


def _summary(layout: Layout, samples: Samples, manifest: dict[str, Any], constant: list[str]) -> Summary:
    train = manifest["train"]
    summary = Summary("train", [layout.trained], next="pipeline predict-rolling")
    summary.figures["rows"] = train["rows"]
    summary.figures["range"] = f"{train['start'][:10]} to {train['end'][:10]}"
    summary.figures["features"] = len(samples.names)
    for reason, count in samples.excluded.items():
        if count:
            summary.figures[f"left out, {reason}"] = count
    for name, facts in manifest["models"].items():
        score = facts["validation"]
        shown = "no held-out part" if score is None else describe_scores(score) + " held out"
        used = f", {len(facts['features'])} features" if "features" in facts else ""
        summary.figures[name] = f"{shown}, {facts['rounds']} rounds{used}"
    for name, facts in manifest.get("second", {}).items():
        score = facts["validation"]
        shown = "no held-out part" if score is None else describe_scores(score) + " held out"
        summary.figures[name] = f"{shown}, of {facts['rows']:,} signals {facts['base_rate']:.1%} right"
    if constant:
        summary.warnings.append(f"constant features tell nothing: {', '.join(constant[:8])}")
    return summary


def describe_scores(scores: dict[str, Any]) -> str:
    """The one or two figures of a score table that a line of text has room for."""
    if "auc" in scores:
        auc = scores["auc"]
        return f"AUC {auc:.4f}" if auc is not None else "AUC undefined (one class)"
    r2 = scores["r2"]
    return f"R² {r2:.4f}" if r2 is not None else "R² undefined"
