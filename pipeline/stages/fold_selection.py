"""Features chosen in each block of a walk-forward, kept for a run that goes on, and what they come to together."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.artifacts import read_json, write_json
from pipeline.config import Config
from pipeline.models.samples import Samples
from pipeline.models.selection import Selected
from pipeline.stages.blocks import Block, Scorer, block_rows
from pipeline.stages.window_fit import select_features, selects

Floats = npt.NDArray[np.float64]
Chosen = dict[tuple[int, str], Selected]


def choose_by_block(config: Config, samples: Samples, labels: list[str], blocks: list[Block], kept: Path) -> Chosen:
    """Features by block and label, from each block's own training rows; nothing if none are to be chosen.

    kept: folder of what an interrupted run has found.
    Raises BadInput: a block has too little, or nothing, to learn.
    """
    from joblib import Parallel, delayed
    from threadpoolctl import threadpool_limits

    if not selects(config):
        return {}
    tasks = [(block, label) for block in blocks for label in labels]
    # Rank correlations are sums, which depend on the number of BLAS threads.
    with threadpool_limits(1, user_api="blas"):
        found = Parallel(config.workers or os.cpu_count() or 1, prefer="threads")(
            delayed(_choose)(config, samples, label, block, kept / f"{block.number:04d}-{label}.features.json")
            for block, label in tasks
        )
    return {(block.number, label): one for (block, label), one in zip(tasks, found, strict=True)}


def _choose(config: Config, samples: Samples, label: str, block: Block, path: Path) -> Selected:
    if path.is_file():
        found = read_json(path, "predict-rolling")
        return Selected(tuple(found["ranking"]), found["kept"], found["passed"])
    rows = block_rows(samples, label, block, config.bars(config.predict_rolling.embargo)).rows
    selected = select_features(config, samples, label, rows, f"fold {block.number}")
    assert selected is not None
    write_json(path, {"ranking": selected.ranking, "kept": selected.kept, "passed": selected.passed})
    return selected


def add_selection(
    report: dict[str, Any],
    config: Config,
    samples: Samples,
    columns: dict[str, Scorer],
    chosen: Chosen,
    by_size: dict[str, Floats],
) -> None:
    """Put into the report of the folds: each fold's features, how alike they are, and the scores by number of features.

    by_size: scores [n] of the columns that have a size.
    """
    from pipeline.evaluation.feature_stability import jaccard, nogueira
    from pipeline.evaluation.scores import label_scores

    labels = list(dict.fromkeys(label for _, label in chosen))
    for fold in report["folds"]:
        own = {label: chosen[fold["fold"], label] for label in labels}
        fold["features"] = {label: _names(samples, one) for label, one in own.items()}
        fold["no_better_than_noise"] = [label for label, one in own.items() if one.passed == 0]
    stability = {}
    for label in labels:
        masks = np.zeros((len(report["folds"]), len(samples.names)), bool)
        for row, fold in enumerate(report["folds"]):
            masks[row, chosen[fold["fold"], label].columns] = True
        often = masks.mean(axis=0)
        order = [int(j) for j in np.argsort(-often, kind="stable") if often[j] > 0]
        stability[label] = {
            "nogueira": nogueira(masks),
            "jaccard": jaccard(masks),
            "mean_features": float(masks.sum(axis=1).mean()),
            "share_of_folds": {samples.names[j]: float(often[j]) for j in order},
        }
    sizes: dict[str, list[dict[str, Any]]] = {}
    for name, values in by_size.items():
        scorer, target = columns[name], samples.targets[columns[name].label]
        rows = np.isfinite(values) & target.known
        outcome = target.values[rows] > 0 if target.is_bool else target.values[rows]
        line = {"features": scorer.size, **label_scores(outcome, values[rows])}
        sizes.setdefault(f"{scorer.label}_{scorer.algorithm.name}", []).append(line)
    report["selection"] = {"method": config.train.selection.method, "stability": stability, "by_size": sizes}


def _names(samples: Samples, selected: Selected) -> list[str]:
    return [samples.names[j] for j in selected.ranking[: selected.kept]]
