"""The steps of a config's `signals` section for one bar of many symbols in one compiled call."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled
from pipeline.config.trading import Abstain, Combine, RuleSet, Smooth, Threshold
from pipeline.signals import abstain
from pipeline.signals.chain import SignalStream
from pipeline.signals.rules import RulesStream
from pipeline.signals.smooth import SmoothStream, smooth_step

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
BUY, SELL = 1, 2
_DIFFERENCE, _RELATIVE, _LARGER, _SMOOTH, _THRESHOLD = range(5)
_COMBINED = {"difference": _DIFFERENCE, "relative": _RELATIVE}


class SignalRows:
    """Signal streams of several symbols with one config; their state lies side by side, each can still be used alone.

    reads: names of the scores that are given, in order. names: of all columns, those that the steps make behind them.
    is_whole: whether all steps are compiled.
    """

    def __init__(self, streams: Sequence[SignalStream], reads: Sequence[str]) -> None:
        steps = streams[0].steps
        made = [spec.name for spec, _ in steps if isinstance(spec, Combine | Smooth | RuleSet | Abstain)]
        self.names = list(dict.fromkeys([*reads, *made]))
        self._reads, place = len(reads), {name: number for number, name in enumerate(self.names)}
        sizes = [len(kept.state) if isinstance(kept, SmoothStream) else 0 for _, kept in steps]
        ends = np.cumsum([0, *sizes]).tolist()
        self._each = [[kept for _, kept in stream.steps] for stream in streams]
        self._ends, states = ends, np.zeros((len(streams), ends[-1]))
        for row, each in zip(states, self._each, strict=True):
            for kept, begin, end in zip(each, ends[:-1], ends[1:], strict=True):
                if isinstance(kept, SmoothStream):
                    row[begin:end] = kept.state
        whole, numbers, inputs = [], [], list[int]()
        for (spec, kept), begin, end in zip(steps, ends[:-1], ends[1:], strict=True):
            read, number = len(inputs), (0.0, 0.0)
            kind = out = least = -1
            if isinstance(spec, Combine):
                kind, out, number = (
                    _COMBINED.get(spec.combine, _LARGER),
                    place[spec.name],
                    (spec.coefficient, spec.constant),
                )
                inputs += [place[name] for name in spec.columns]
            elif isinstance(spec, Smooth) and isinstance(kept, SmoothStream):
                kind, out, least = _SMOOTH, place[spec.name], kept.least if spec.window is not None else -1
                threshold = np.nan if spec.point_threshold is None else spec.point_threshold
                number = (kept.alpha, threshold)
                inputs += [place[name] for name in spec.columns]
            elif isinstance(spec, Threshold):
                kind, number = _THRESHOLD, (spec.buy, spec.sell)
                inputs.append(place[spec.column])
            whole.append([kind, out, read, len(inputs) - read, begin, end, least])
            numbers.append(number)
        self._steps, self._place = steps, place
        self.move([np.array(whole), np.array(numbers), np.array(inputs, np.int64), states])
        # Runs of steps that are compiled, and between them those that are not.
        alone = [number for number, row in enumerate(whole) if row[0] < 0]
        self._runs = list(zip([0, *(number + 1 for number in alone)], [*alone, len(whole)], strict=True))
        self.is_whole = not alone

    def arrays(self) -> list[np.ndarray]:
        """Steps, their numbers and inputs, and states of all symbols, as `carry_out` takes them."""
        return [self._whole, self._numbers, self._inputs, self._states]

    def move(self, arrays: Sequence[np.ndarray]) -> None:
        """Go on with copies of `arrays`."""
        self._whole, self._numbers, self._inputs, self._states = arrays
        for row, each in zip(self._states, self._each, strict=True):
            for kept, begin, end in zip(each, self._ends[:-1], self._ends[1:], strict=True):
                if isinstance(kept, SmoothStream):
                    kept.state = row[begin:end]

    def update(
        self, which: Whole, scores: Floats, filled: npt.NDArray[np.bool_]
    ) -> tuple[Floats, npt.NDArray[np.uint8]]:
        """Columns [n, names] of a bar of the symbols of some numbers [n], and BUY, SELL, both or neither [n].

        scores: [n, reads]. filled: made-up bars [n].
        """
        return self._carried_out(self._runs, self._states, which, scores, filled)

    def peek(self, which: Whole, scores: Floats, filled: npt.NDArray[np.bool_]) -> tuple[Floats, npt.NDArray[np.uint8]]:
        """What `update` would give, up to the first step that is not compiled, and nothing changes."""
        begin, end = self._runs[0]
        return self._carried_out([(begin, end)], self._states.copy(), which, scores, filled, len(self._steps))

    def _carried_out(
        self,
        runs: list[tuple[int, int]],
        states: Floats,
        which: Whole,
        scores: Floats,
        filled: npt.NDArray[np.bool_],
        alone_from: int = 0,
    ) -> tuple[Floats, npt.NDArray[np.uint8]]:
        columns = np.empty((len(which), len(self.names)))
        columns[:, : self._reads] = scores
        sides = np.zeros(len(which), np.uint8)
        for begin, end in runs:
            carry_out(begin, end, which, filled, self._whole, self._numbers, self._inputs, states, columns, sides)
            if alone_from <= end < len(self._steps):
                self._alone(end, which, columns)
        return columns, sides

    def _alone(self, number: int, which: Whole, columns: Floats) -> None:
        spec = self._steps[number][0]
        for row, s in zip(columns, which.tolist(), strict=True):
            values: dict[str, float | bool] = dict(zip(self.names, row.tolist(), strict=True))
            kept = self._each[s][number]
            if isinstance(kept, RulesStream) and isinstance(spec, RuleSet):
                row[self._place[spec.name]] = kept.update(values)
            elif isinstance(spec, Abstain):
                row[self._place[spec.name]] = abstain.abstain_one(values, spec)


@compiled(nogil=True, error_model="numpy")
def carry_out(
    begin: int,
    end: int,
    which: Whole,
    filled: npt.NDArray[np.bool_],
    steps: Whole,
    numbers: Floats,
    inputs: Whole,
    states: Floats,
    columns: Floats,
    sides: npt.NDArray[np.uint8],
) -> None:
    """The steps from `begin` to `end`, each as the function of one row does it: `combine_one`, `point_one`,
    `smooth_step`, `threshold_one`."""
    for i in range(len(which)):
        row = columns[i]
        for t in range(begin, end):
            kind, out, first, count = steps[t, 0], steps[t, 1], steps[t, 2], steps[t, 3]
            one, other = numbers[t, 0], numbers[t, 1]
            value = row[inputs[first]]
            if kind == _THRESHOLD:
                sides[i] = 0
                if not filled[i]:
                    sides[i] = (BUY if value >= one else 0) + (SELL if value <= other else 0)
            elif kind == _SMOOTH:
                for k in range(first + 1, first + count):
                    value += row[inputs[k]]
                value /= count
                if not np.isnan(other) and not np.isnan(value):
                    value = 1.0 if value >= other else 0.0
                if steps[t, 6] >= 0:
                    value = smooth_step(states[which[i], steps[t, 4] : steps[t, 5]], value, steps[t, 6], one)
                row[out] = value
            else:
                row[out] = _combined(kind, value, row[inputs[first + 1]]) * one + other


@compiled(error_model="numpy")
def _combined(kind: int, up: float, down: float) -> float:
    if kind == _DIFFERENCE:
        return up - down
    if kind == _RELATIVE:
        total = up + down
        return 0.0 if total == 0 else 2 * up / total - 1
    return up if up >= down or np.isnan(up) else -down
