"""`pipeline check`: is a config sound, names across its sections included, and what does it amount to?"""

import difflib
import fnmatch
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.artifacts import Layout
from pipeline.config import Config
from pipeline.config.meta import first_labels, second_columns
from pipeline.errors import ConfigError, PipelineError
from pipeline.stages.dvc_file import FILE, dvc_text
from pipeline.stages.intervals import interval_ends
from pipeline.stages.reporting import Summary, print_json
from pipeline.stages.runner import Options
from pipeline.stages.search_space import Space


def check(options: Options) -> None:
    """Print what the config amounts to.

    Raises ConfigError: a key, a name or a combination is wrong, in the search space too.
    """
    config, layout = options.load()
    source = str(options.config or "the default config")
    try:
        features, labels = check_names(config, source)
        if config.optimize.space and options.config is not None:
            Space.of(options, config)
    except PipelineError as error:
        options.explain(error)
        raise
    summary = _summary(config, layout, features, labels)
    summary.next = f"pipeline run -c {options.config}" if options.config else ""
    if options.config is not None and _outdated(config, options.config):
        summary.warnings.append(
            f"{FILE} was written for an older {options.config}: run `pipeline dvc -c {options.config}`"
        )
    if options.json:
        print_json(summary.json())
    else:
        print(summary.text().replace("check: done in 0.0 s", f"{source}: valid"))


def check_names(config: Config, source: str) -> tuple[list[str], list[str]]:
    """The config's feature and label columns, after checking that every name used exists.

    Raises ConfigError: a function, a label or a column that is used is not made by the config.
    """
    from pipeline.features import feature_names
    from pipeline.labels import label_names

    features, labels = feature_names(config), label_names(config)
    for number, label in enumerate(config.train.labels):
        if label not in labels:
            raise ConfigError(f"{source}: train.labels[{number}]: no label '{label}'", _nearest(label, labels))
    for key in ("features", "exclude"):
        for number, pattern in enumerate(getattr(config.train, key)):
            if features and not fnmatch.filter(features, pattern):
                raise ConfigError(
                    f"{source}: train.{key}[{number}]: no feature matches '{pattern}'", _nearest(pattern, features)
                )
    if config.signals.steps:
        from pipeline.signals import check_columns

        by_features = config.signals.predictions == "features"
        made = scores(config, labels)
        source_columns = features if by_features else [*made, *interval_ends(config, made)]
        what = "the features" if by_features else "the predictions"
        check_columns(config.signals, source_columns, f"{what} of this config")
    _check_rule_columns(config, source, features)
    return features, labels


def _check_rule_columns(config: Config, source: str, features: list[str]) -> None:
    from pipeline.trading.gates import gate_columns

    named = [("risk.gates", column) for column in gate_columns(config.risk).values()]
    if config.simulate.exits.atr:
        named.append(("simulate.exits.atr", config.simulate.exits.atr))
    for key, column in named:
        if column not in features:
            raise ConfigError(f"{source}: {key}: no feature '{column}'", _nearest(column, features))


def scores(config: Config, labels: Iterable[str]) -> list[str]:
    """The prediction columns: each label that is trained, with each algorithm."""
    trained = config.train.labels or first_labels(config, list(labels))
    return [f"{label}_{algorithm.name}" for label in trained for algorithm in config.train.algorithms]


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean '{near[0]}'?" if near else f"there is: {', '.join(known[:8])}" if known else "there is none"


def _summary(config: Config, layout: Layout, features: list[str], labels: list[str]) -> Summary:
    from pipeline.features import lookback_bars

    rolling = config.predict_rolling
    walk_forward = (
        f"train on {config.bars(rolling.train_length):,} bars ({rolling.window}), "
        f"then predict {config.bars(rolling.prediction_size):,}; {_folds(config)}"
    )
    figures: dict[str, Any] = {
        "symbols": config.symbols,
        "interval": config.interval,
        "bars from": f"{config.download.venue}, {config.download.market}, {_range(config)}",
        "features": f"{len(features)}, the longest looks back {lookback_bars(config):,} bars" if features else "none",
        "labels": labels or "none",
        "models": [*scores(config, labels), *second_columns(config)] or "none",
        "walk-forward": walk_forward if labels else "none",
        "signals from": config.signals.predictions,
        "artifacts in": f"{layout.run}, {layout.models / layout.name}",
    }
    summary = Summary("check", figures=figures)
    for name, empty in (
        ("features", not features),
        ("labels", not labels and config.signals.predictions != "features"),
        ("signals.steps", not config.signals.steps),
    ):
        if empty:
            summary.warnings.append(f"{name} is empty: only the stages before it can run")
    if labels and _folds(config) == "0 folds":
        summary.warnings.append("predict_rolling: the bars end before its first block: shorten train_length")
    return summary


def _range(config: Config) -> str:
    start, end = config.download.start, config.download.end
    return f"{start or 'the last 30 days'} to {end or 'now'}" if start else f"the last 30 days to {end or 'now'}"


def _folds(config: Config) -> str:
    from pipeline.config import utc_ms
    from pipeline.features import window_bars

    start = config.merge.start or config.download.start
    end = config.predict_rolling.end or config.merge.end or config.download.end
    if config.predict_rolling.steps:
        return f"{config.predict_rolling.steps} folds"
    if not (start and end):
        return "as many folds as the data hold"
    # Rows begin where the longest feature is known.
    first = (
        utc_ms(start) + (window_bars(config) - 1 + config.bars(config.predict_rolling.train_length)) * config.step_ms
    )
    if config.predict_rolling.start:
        first = utc_ms(config.predict_rolling.start)
    size = config.bars(config.predict_rolling.prediction_size) * config.step_ms
    return f"{max(-(-(utc_ms(end) - first) // size), 0)} folds"


def _outdated(config: Config, path: Path) -> bool:
    if not FILE.is_file():
        return False
    text = FILE.read_text(encoding="utf-8")
    return f"-c {path}\n" in text and text != dvc_text(config, path)
