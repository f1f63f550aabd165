"""`pipeline dvc`: dvc.yaml for a config. DVC itself is never imported, only told what to run.

DVC tracks parameters in the raw config files, so each stage lists the sections it uses from the file
that holds them: the config or one that it `extends`. `workers` is not among them: it changes no result.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.artifacts import Layout, write_text
from pipeline.config import Config
from pipeline.config.loading import read_chain
from pipeline.errors import BadInput
from pipeline.stages.chain import LEARNING as LEARNING_STAGES
from pipeline.stages.chain import learns
from pipeline.stages.runner import Options

FILE = Path("dvc.yaml")
# `dvc repro` started as .venv/bin/dvc does not have .venv/bin on its PATH.
COMMAND = "PATH=.venv/bin:$PATH pipeline"


@dataclass(frozen=True)
class Recipe:
    """What DVC has to know of a stage.

    sections: the config's keys that its result depends on.
    code: its own modules; not the whole package, or any edit would retrain everything.
    """

    sections: tuple[str, ...]
    code: tuple[str, ...]


# What the stages that learn or score have in common.
LEARNING = (
    "stages/samples.py",
    "stages/times.py",
    "stages/trials.py",
    "stages/window_fit.py",
    "stages/blocks.py",
    "stages/calibrating.py",
    "evaluation/hash_chain.py",
    "evaluation/trials.py",
    "models",
    "signals",
    "features",
    "evaluation/splits.py",
    "evaluation/scores.py",
    "evaluation/combinatorial.py",
    "stages/second_stage.py",
    "market/candles.py",
)
RECIPES = {
    "download": Recipe(
        ("symbols", "interval", "download", "merge"),
        ("stages/download.py", "stages/local_market.py", "market", "exchange", "trading/filters.py"),
    ),
    "merge": Recipe(("symbols", "interval", "download", "merge"), ("stages/merge.py", "market")),
    "features": Recipe(("symbols", "features"), ("stages/features.py", "features", "market/candles.py")),
    "labels": Recipe(("symbols", "labels"), ("stages/labels.py", "labels", "market/candles.py")),
    "train": Recipe(
        ("symbols", "seed", "features", "labels", "train", "drift"),
        ("stages/train.py", "stages/drift_reference.py", *LEARNING),
    ),
    "predict": Recipe(
        ("symbols", "predict", "intervals"),
        (
            "stages/predict.py",
            "stages/intervals.py",
            "stages/train.py",
            "stages/drift_reference.py",
            "labels",
            *LEARNING,
        ),
    ),
    "predict-rolling": Recipe(
        ("symbols", "seed", "labels", "train", "predict_rolling", "intervals"),
        (
            "stages/intervals.py",
            "stages/predict_rolling.py",
            "stages/fold_selection.py",
            "stages/kept_scores.py",
            "evaluation/feature_stability.py",
            "stages/null_run.py",
            "stages/features.py",
            "stages/labels.py",
            "labels",
            "evaluation/null_model.py",
            "market/merging.py",
            "market/grid.py",
            "market/timeframes.py",
            "stages/train.py",
            "stages/drift_reference.py",
            *LEARNING,
        ),
    ),
    "signals": Recipe(("symbols", "signals"), ("stages/signals.py", "signals", "market/candles.py")),
    "simulate": Recipe(
        ("symbols", "seed", "signals", "sizing", "risk", "simulate"),
        (
            "stages/simulate.py",
            "stages/history.py",
            "stages/trials.py",
            "evaluation/hash_chain.py",
            "evaluation/trials.py",
            "stages/simulation_result.py",
            "stages/significance.py",
            "stages/times.py",
            "market/cleaning.py",
            "trading",
            "signals",
            "evaluation/baselines.py",
            "evaluation/bootstrap.py",
            "evaluation/daily.py",
            "evaluation/effective_trials.py",
            "evaluation/overfitting.py",
            "evaluation/performance.py",
            "evaluation/portfolio.py",
            "evaluation/regimes.py",
            "evaluation/significance.py",
            "evaluation/stress.py",
            "evaluation/thresholds.py",
            "market/candles.py",
            "market/marks.py",
        ),
    ),
    "output": Recipe(
        ("symbols", "output"),
        (
            "stages/output.py",
            "stages/shadow_run.py",
            "report",
            "evaluation/scores.py",
            "market/candles.py",
            "trading/reasons.py",
        ),
    ),
}


def write_dvc_file(options: Options) -> None:
    """Write dvc.yaml for the config, or print it on a dry run.

    Raises BadInput: no config file was named; DVC can only track a file.
    """
    config, _ = options.load()
    if options.config is None:
        raise BadInput("dvc.yaml is made for a config file, and none is named", "pipeline dvc -c configs/demo.yaml")
    text = dvc_text(config, options.config)
    if options.dry_run:
        print(text, end="")
    elif FILE.is_file() and FILE.read_text(encoding="utf-8") == text:
        print(f"{FILE} describes {options.config} already")
    else:
        write_text(FILE, text)
        print(f"{FILE} now describes {options.config}; next: dvc repro")


def dvc_text(config: Config, path: Path) -> str:
    """The content of dvc.yaml for a config at `path`, which is relative to the folder of dvc.yaml."""
    layout = Layout(config.name)
    wanted = [name for name in RECIPES if learns(config) or name not in LEARNING_STAGES]
    stages = {name: _stage(name, config, path, layout) for name in wanted}
    curve = str(layout.simulation / "equity.csv")
    content = {
        "stages": stages,
        "metrics": [str(layout.simulation / "metrics.json"), *([str(layout.folds)] if learns(config) else [])],
        "plots": [
            {"equity": _plot(curve, ["equity", "buy_and_hold"], "equity and buy & hold")},
            {"drawdown": _plot(curve, ["drawdown"], "drawdown")},
        ],
    }
    stream = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(content, stream)
    return f"# Written by `pipeline dvc -c {path}`; run it again when sections come or go.\n{stream.getvalue()}"


def _plot(file: str, columns: Sequence[str], title: str) -> dict[str, Any]:
    return {
        "template": "simple" if len(columns) == 1 else "linear",
        "x": "open_time",
        "y": {file: list(columns)},
        "title": title,
    }


def _stage(name: str, config: Config, path: Path, layout: Layout) -> dict[str, Any]:
    recipe = RECIPES[name]
    stage: dict[str, Any] = {"cmd": f"{COMMAND} {name} -c {path}"}
    if deps := [*_inputs(name, config, layout), *_code(recipe.code)]:
        stage["deps"] = [str(dep) for dep in deps]
    if params := _params(recipe.sections + _second_stage(name, config), path):
        stage["params"] = params
    if name == "download":
        # Never in DVC's cache and never deleted: `pipeline download` and `pipeline retrain` add to these
        # folders outside DVC, and a restored older version would lose what they fetched.
        stage["outs"] = [{str(out): {"cache": False, "persist": True}} for out in _outputs(name, config, layout)]
    else:
        stage["outs"] = [str(out) for out in _outputs(name, config, layout)]
    return stage


def _second_stage(name: str, config: Config) -> tuple[str, ...]:
    # What it learns depends on which bars have a signal; and later stages find its columns by its label.
    if config.meta is None:
        return ()
    return {"train": ("meta", "signals"), "predict-rolling": ("meta", "signals")}.get(
        name, ("meta", "labels") if name in ("signals", "simulate") else ()
    )


def _raw(config: Config, layout: Layout) -> list[Path]:
    symbols = dict.fromkeys([*config.symbols, *config.download.also_symbols, *config.merge.symbols])
    return [layout.raw / config.download.venue / config.download.market / symbol for symbol in symbols]


def _inputs(name: str, config: Config, layout: Layout) -> list[Path]:
    run = layout.run
    scores = run / {"rolling": "rolling", "predict": "predictions", "features": "features"}[config.signals.predictions]
    learnt = [run / "labels", layout.trained, run / "predictions", run / "rolling"] if learns(config) else []
    inputs = {
        "download": _own_files(config),
        "merge": _raw(config, layout),
        "features": [run / "merged", *_custom_code(config)],
        "labels": [run / "merged"],
        "train": [run / "features", run / "labels", run / "merged"],
        "predict": [run / "features", layout.trained, *([run / "labels"] if config.intervals else [])],
        "predict-rolling": [run / "features", run / "labels", run / "merged"],
        "signals": [run / "merged", scores],
        "simulate": [run / "merged", run / "signals", *([run / "features"] if _reads_features(config) else [])],
        "output": [run / "merged", *learnt, run / "signals", layout.simulation],
    }
    return inputs[name]


def _outputs(name: str, config: Config, layout: Layout) -> list[Path]:
    run = layout.run
    outputs = {
        "download": _raw(config, layout),
        "merge": [run / "merged"],
        "features": [run / "features"],
        "labels": [run / "labels"],
        "train": [layout.trained],
        "predict": [run / "predictions"],
        "predict-rolling": [run / "rolling"],
        "signals": [run / "signals"],
        "simulate": [layout.simulation],
        "output": [layout.output],
    }
    return outputs[name]


def _reads_features(config: Config) -> bool:
    # Gates and ATR stops look at feature columns.
    from pipeline.trading.gates import gate_columns

    return bool(gate_columns(config.risk)) or config.simulate.exits.atr is not None


def _own_files(config: Config) -> list[Path]:
    # A glob is left out: DVC wants names.
    if config.download.file is None or any(c in config.download.file.path for c in "*?["):
        return []
    names = [config.download.file.path.format(symbol=s, interval=config.interval) for s in config.symbols]
    return [Path(name) for name in dict.fromkeys(names)]


def _custom_code(config: Config) -> list[Path]:
    files = [entry.custom.function.partition(":")[0] for entry in config.features if entry.custom]
    return [Path(file) for file in dict.fromkeys(files) if file.endswith(".py")]


def _code(modules: Sequence[str]) -> list[Path]:
    # Only in a checkout of the project; an installed package has a version instead.
    return [Path("pipeline") / module for module in modules] if Path("pipeline/stages").is_dir() else []


def _params(sections: Sequence[str], path: Path) -> list[Mapping[str, list[str]]]:
    return [
        {str(file): keys}
        for file, raw in read_chain(path)
        if (keys := [section for section in sections if raw.get(section) is not None])
    ]
