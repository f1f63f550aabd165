"""The steps of a config's `signals` section, over whole columns and bar by bar."""

import difflib
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from pipeline.config.trading import Abstain, Combine, RuleSet, Signals, SignalStep, Smooth, Threshold
from pipeline.errors import BadInput, ConfigError
from pipeline.signals import abstain
from pipeline.signals.combine import combine, combine_one
from pipeline.signals.rules import RulesStream, columns_of, rules
from pipeline.signals.smooth import SmoothStream, smooth
from pipeline.signals.threshold import threshold, threshold_one

Array = npt.NDArray[np.float64]


def threshold_step(signals: Signals) -> Threshold:
    """The one step that makes signals of a score. Raises ConfigError: there is none, or more than one."""
    found = [step.threshold for step in signals.steps if step.threshold is not None]
    if len(found) != 1:
        raise ConfigError(
            f"signals.steps: {len(found) or 'no'} threshold steps; exactly one is needed",
            "add: - threshold: {column: trade_score, buy: 0.1, sell: -0.1}",
        )
    return found[0]


def check_columns(signals: Signals, available: Iterable[str], source: str) -> list[str]:
    """The prediction columns that the steps read, in order; each step may read what earlier ones made.

    available: columns of the predictions. source: their file, for the message.
    Raises BadInput: a step reads a column that is not there (names the nearest); a step's name is taken.
    """
    threshold_step(signals)
    predictions = list(available)
    made: list[str] = []
    read: list[str] = []
    for number, step in enumerate(signals.steps):
        spec = step.spec
        where = f"signals.steps[{number}].{step.kind}"
        for name in _reads(spec):
            if name in made or name in read:
                continue
            if name not in predictions:
                raise BadInput(f"{where}: no column '{name}' in {source}", _nearest(name, [*made, *predictions]))
            read.append(name)
        if isinstance(spec, Combine | Smooth | RuleSet | Abstain):
            if spec.name in predictions:
                raise BadInput(f"{where}.name: '{spec.name}' is a prediction's name already", "choose another name")
            made.append(spec.name)
    return read


def _reads(spec: object) -> list[str]:
    if isinstance(spec, Threshold):
        return [spec.column]
    if isinstance(spec, Abstain):
        return abstain.columns_of(spec)
    return columns_of(spec) if isinstance(spec, RuleSet) else spec.columns  # type: ignore[attr-defined]


def compute(signals: Signals, predictions: Mapping[str, Array], filled: npt.NDArray[np.bool_]) -> dict[str, np.ndarray]:
    """Score columns float64 [n] (predictions used, then each step's) and buy_signal, sell_signal bool [n].

    predictions: float64 [n] by name, all that `check_columns` lists. filled: made-up bars, bool [n].
    """
    columns: dict[str, np.ndarray] = dict(predictions)
    buy = sell = np.zeros(len(filled), np.bool_)
    for step in signals.steps:
        spec = step.spec
        if isinstance(spec, Combine):
            columns[spec.name] = combine(columns[spec.columns[0]], columns[spec.columns[1]], spec)
        elif isinstance(spec, Smooth):
            columns[spec.name] = smooth(np.column_stack([columns[name] for name in spec.columns]), spec)
        elif isinstance(spec, RuleSet):
            columns[spec.name] = rules({name: columns[name] for name in columns_of(spec)}, spec)
        elif isinstance(spec, Abstain):
            columns[spec.name] = abstain.abstain(columns, spec)
        elif isinstance(spec, Threshold):
            buy, sell = threshold(columns[spec.column], filled, spec)
    return {**columns, "buy_signal": buy, "sell_signal": sell}


class SignalStream:
    """The same, one closed bar at a time; equal to `compute` to the last bit if started at its first bar.

    steps: each with what it remembers, if it does.
    """

    def __init__(self, signals: Signals) -> None:
        threshold_step(signals)
        self.steps = [(step.spec, _stream(step)) for step in signals.steps]

    def update(self, predictions: Mapping[str, float], filled: bool = False) -> dict[str, float | bool]:
        """The bar's scores and signals, under the names that `compute` gives them."""
        values: dict[str, float | bool] = {name: float(value) for name, value in predictions.items()}
        buy = sell = False
        for spec, stream in self.steps:
            if isinstance(spec, Combine):
                up, down = spec.columns
                values[spec.name] = combine_one(values[up], values[down], spec)
            elif isinstance(stream, RulesStream):
                values[spec.name] = stream.update(values)  # type: ignore[attr-defined]
            elif isinstance(stream, SmoothStream):
                values[spec.name] = stream.update([values[name] for name in spec.columns])  # type: ignore[attr-defined]
            elif isinstance(spec, Abstain):
                values[spec.name] = abstain.abstain_one(values, spec)
            elif isinstance(spec, Threshold):
                buy, sell = threshold_one(values[spec.column], filled, spec)
        values["buy_signal"], values["sell_signal"] = buy, sell
        return values


def _stream(step: SignalStep) -> SmoothStream | RulesStream | None:
    if step.smooth is not None:
        return SmoothStream(step.smooth)
    return RulesStream(step.rules) if step.rules is not None else None


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean '{near[0]}'?" if near else f"there is: {', '.join(known[:12])}"
