"""The parameter sets that a search may try, as changes of a config file."""

import copy
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.config.loading import put, read_raw, read_with_parents, validate, value_at
from pipeline.config.search import Axis
from pipeline.errors import BadInput, ConfigError
from pipeline.stages.runner import Options

# Sections that a set can change: what a search keeps fixed is the market that it is judged on.
OPEN = ("features", "labels", "train", "meta", "intervals", "predict_rolling", "signals", "sizing", "risk", "simulate")
_FIXED = {
    "simulate.grid": "the search tries thresholds itself and leaves the grid out",
    "simulate.costs": "costs are a fact, not a choice",
    "simulate.start": "the search has blocks of its own",
    "simulate.end": "the search has blocks of its own",
    "predict_rolling.start": "the search has blocks of its own",
    "predict_rolling.end": "the search has blocks of its own",
    "predict_rolling.prediction_size": "the search has blocks of its own",
    "predict_rolling.steps": "the search has blocks of its own",
}


@dataclass(frozen=True)
class Space:
    """A config as its file and options give it, and the keys that vary."""

    raw: Mapping[str, Any]
    own: Mapping[str, Any]  # of the file alone, without the command line
    name: str
    source: str
    axes: Mapping[str, Axis]

    @classmethod
    def of(cls, options: Options, config: Config) -> "Space":
        """The space of a config, every value of it checked at its ends.

        Raises ConfigError: a key does not exist or cannot be varied, or a value at an end of it is refused.
        """
        if options.config is None:
            raise BadInput("optimize: needs a config file", "name it with -c")
        raw = read_raw(options.config, symbols=options.symbols, interval=options.interval, overrides=options.overrides)
        found = cls(raw, read_with_parents(options.config), config.name, str(options.config), config.optimize.space)
        found._check()
        return found

    def config(self, values: Mapping[str, Any]) -> Config:
        """The config with these values. Raises ConfigError: they contradict each other or the rest."""
        return validate(self.changed(values), self.name, self.source)

    def changed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The config's mapping with these values, and without what a search has no use for."""
        raw = copy.deepcopy(dict(self.raw))
        raw.pop("optimize", None)
        if isinstance(raw.get("simulate"), dict):
            raw["simulate"].pop("grid", None)
        for key, value in values.items():
            put(raw, key, copy.deepcopy(value))
        return raw

    def standing(self) -> dict[str, Any] | None:
        """The values that the config has now; None if one of them is not among those that are tried."""
        values = {}
        for key, axis in self.axes.items():
            try:
                value = value_at(self.raw, key)
            except KeyError:
                # Not written, so it has its default: the choice that changes nothing.
                same = [choice for choice in axis.choices or () if self.config({key: choice}) == self.config({})]
                if not same:
                    return None
                value = same[0]
            if axis.choices is None and not axis.whole and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
            if not axis.holds(value):
                return None
            values[key] = value
        return values

    def best_file(self, values: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """What a file at `path` says on top of the config's own file to be the config with these values.

        Lists are replaced whole, as `extends` does; the grid is switched off, since thresholds are among the values.
        What comes of it is counted in the search's ledger: it is the best of so many, under whatever name.
        """
        differing = _difference(self.own, self.changed(values))
        if isinstance(self.own.get("simulate"), dict) and self.own["simulate"].get("grid"):
            differing.setdefault("simulate", {})["grid"] = None
        ledger = self.raw.get("ledger") or self.name
        return {"extends": os.path.relpath(self.source, path.parent), "ledger": ledger, **differing}

    def _check(self) -> None:
        if not self.axes:
            raise ConfigError(
                f"{self.source}: optimize.space: there is nothing to vary",
                "add keys: optimize: {space: {signals.steps.1.threshold.buy: {low: 0.05, high: 0.3}}}",
            )
        for key, axis in self.axes.items():
            where = f"{self.source}: optimize.space: {key}"
            section = key.partition(".")[0]
            if section not in OPEN:
                raise ConfigError(f"{where}: '{section}' is not varied", f"keys of these are: {', '.join(OPEN)}")
            for fixed, why in _FIXED.items():
                if key == fixed or key.startswith(f"{fixed}."):
                    raise ConfigError(f"{where}: is not varied: {why}", "remove the key")
            for value in axis.choices if axis.choices is not None else (axis.low, axis.high):
                self._check_value(key, value, where)

    def _check_value(self, key: str, value: Any, where: str) -> None:
        from pipeline.features import feature_names
        from pipeline.models.parameters import check_parameters

        try:
            config = self.config({key: value})
            check_parameters(config.train.algorithms)
            feature_names(config)
        except KeyError as error:
            raise ConfigError(f"{where}: there is nothing at '{error.args[0]}'", "write it as --set does") from None
        except BadInput as error:
            raise ConfigError(
                f"{where}: {shown(value)}: {error.message.removeprefix(f'{self.source}: ')}", error.hint
            ) from None


def shown(value: Any) -> str:
    """A value as a person reads it: 0.0312, [5, 20, 60]."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def _difference(own: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    # Keys of `wanted` that are not in `own` or differ; mappings key by key.
    result: dict[str, Any] = {}
    for key, value in wanted.items():
        before = own.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if inside := _difference(before, value):
                result[key] = inside
        elif key not in own or before != value:
            result[key] = value
    return result
