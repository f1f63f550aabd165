"""The drift monitor: fed bar by bar with features and scores, and with outcomes once they are known."""

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config.drift import Drift
from pipeline.errors import BadInput
from pipeline.models.drift.adwin import Adwin
from pipeline.models.drift.calibration_drift import CalibrationDrift, Gap
from pipeline.models.drift.distribution import ROWS, UNKNOWN, Distribution, Distributions, Together
from pipeline.models.drift.page_hinkley import PageHinkley

# A window is looked at so many times while it passes: daily, if it is a week.
LOOKS = 7
# Page-Hinkley passes over a rise of the loss by this many standard deviations.
_PASSED_OVER = 0.25
_MOST_LOSS = 8.0


@dataclass(frozen=True)
class Finding:
    """One line of the table: what was looked at, by which test, and whether it is an alarm.

    value: PSI for a distribution, else the test's own figure. distance: Kolmogorov-Smirnov's, NaN for other tests.
    p: how often chance alone does this; NaN for detectors that only say yes or no.
    """

    what: str
    test: str
    value: float
    distance: float
    p: float
    alarm: bool


class DriftMonitor:
    """One symbol's bars against a bundle's training range.

    reference: `drift` of the bundle's manifest, as `stages.drift_reference` makes it. settings: the config's section.
    Raises BadInput: the reference is damaged.
    """

    def __init__(self, reference: Mapping[str, Any], settings: Drift) -> None:
        try:
            self._window, self._stride = int(reference["window_bars"]), int(reference["stride"])
            columns = {name: Distribution.from_json(kept) for name, kept in reference["features"].items()}
            models = reference["models"]
            scores = {f"score {name}": Distribution.from_json(k["score"]) for name, k in models.items() if k["score"]}
            self._together = Together(**reference["together"]) if reference["together"] else None
            self._losses = {n: _Loss(Gap(**k["gap"]), k["bounded"], self._window, settings)
                            for n, k in models.items() if k["gap"]}  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"the bundle's drift reference is damaged: {error!r}", "run `pipeline train`") from None
        self._settings = settings
        self.features = list(columns)
        self._scores = [name.removeprefix("score ") for name in scores]
        self._columns = columns | scores
        self._table = Distributions(list(self._columns.values()))
        # Cells of the newest rows, a ring.
        rows = max(self._window // self._stride, 1)
        self._ring = np.full((rows, len(self._columns)), UNKNOWN, np.uint8)
        self._bars, self._kept = 0, 0
        self._findings: list[Finding] = []

    def update(self, features: npt.NDArray[np.float32], scores: Mapping[str, float]) -> None:
        """Take a closed bar: its features [k] in the order of `features`, and the scores of the models by name."""
        if self._bars % self._stride == 0:
            row = np.array([*features.tolist(), *(scores.get(name, math.nan) for name in self._scores)])
            place = self._table.cells(row)
            self._ring[self._kept % len(self._ring)] = np.where(np.isfinite(row), place, UNKNOWN)
            self._kept += 1
        self._bars += 1
        if self._bars % max(self._window // LOOKS, 1) == 0:
            self.look()

    def learn(self, name: str, score: float, outcome: float) -> None:
        """Take what came of an earlier score of a model; in the order of the bars, each once."""
        if name in self._losses and math.isfinite(score):
            self._losses[name].update(score, outcome)

    @property
    def full(self) -> bool:
        """Whether a whole window of bars has been seen; before that no distribution is judged."""
        return self._kept >= len(self._ring)

    def alarm(self) -> str | None:
        """What has drifted, worst first, in one line; None if nothing has. Looked at seven times a window."""
        found = [finding for finding in self._findings if finding.alarm]
        if not found:
            return None
        found.sort(key=lambda finding: (finding.what != ALL, finding.p if math.isfinite(finding.p) else 1.0))
        words = "; ".join(_words(finding) for finding in found[:3])
        return words if len(found) <= 3 else f"{words}; and {len(found) - 3} more"

    def findings(self) -> list[Finding]:
        """The table of the last look; of now, if there has been none."""
        if not self._findings:
            self.look()
        return list(self._findings)

    def save(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {
            "columns": list(self._columns),
            "bars": self._bars,
            "kept": self._kept,
            "ring": base64.b64encode(self._ring.tobytes()).decode("ascii"),
            "losses": {name: loss.save() for name, loss in self._losses.items()},
            "findings": [_plain(finding) for finding in self._findings],
        }

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Go on after `save`. Raises BadInput: it was saved against another bundle."""
        ring = base64.b64decode(kept["ring"])
        if (
            kept["columns"] != list(self._columns)
            or len(ring) != self._ring.size
            or kept["losses"].keys() != self._losses.keys()
        ):
            raise BadInput("the saved drift monitor belongs to another bundle", "start a new one")
        self._bars, self._kept = int(kept["bars"]), int(kept["kept"])
        self._ring = np.frombuffer(ring, np.uint8).reshape(self._ring.shape).copy()
        for name, loss in self._losses.items():
            loss.restore(kept["losses"][name])
        self._findings = [_finding(one) for one in kept["findings"]]

    @property
    def window_bars(self) -> int:
        """Bars of a window."""
        return self._window

    def look(self) -> None:
        """Judge the bars taken so far; `update` does it seven times a window by itself."""
        self._findings = [*self._distributions(), *self._errors()]

    def _distributions(self) -> list[Finding]:
        if not self.full:
            return []
        # Half of the level for all features at once, a quarter for columns one by one, a quarter for the errors.
        share = self._settings.level / 4 / max(len(self._columns), 1)
        found, ratios = [], []
        known, distances, stabilities = self._table.compare(self._ring)
        for k, (name, column) in enumerate(self._columns.items()):
            if 2 * known[k] < len(self._ring):
                continue
            distance, stability = float(distances[k]), float(stabilities[k])
            p = column.p_value(distance)
            alarm = p < share and stability >= self._settings.psi
            found.append(Finding(name, "distribution", stability, distance, p, alarm))
            if k < len(self.features):
                ratios.append(distance / column.usual)
        if self._together is not None and ratios:
            p = self._together.p_value(ratios)
            mean = float(np.mean(ratios))
            found.insert(0, Finding(ALL, "distance, of the usual", mean, math.nan, p, p < self._settings.level / 2))
        return found

    def _errors(self) -> list[Finding]:
        share = self._settings.level / 4 / max(len(self._losses), 1)
        return [finding for name, loss in self._losses.items() for finding in loss.findings(name, share)]


ALL = "all features"


class _Loss:
    # A model's errors, in means over as many rows as one outcome takes: neighbours share their outcome.
    def __init__(self, reference: Gap, bounded: bool, window: int, settings: Drift) -> None:
        self._reference, self._bounded = reference, bounded
        self._adwin = Adwin(settings.adwin_delta, clock=1)
        self._rise = PageHinkley(_PASSED_OVER, settings.page_hinkley)
        self._recent = max(window // reference.rows, 2)
        self._calibration = CalibrationDrift(reference, self._recent)
        self._threshold = settings.page_hinkley
        self._sums = [0.0, 0.0]
        self._count = 0
        # Means since ADWIN and Page-Hinkley last found something; an alarm lasts for a window.
        self._since: list[int | None] = [None, None]

    def update(self, score: float, outcome: float) -> None:
        reference = self._reference
        self._sums[0] += outcome - score
        self._sums[1] += (outcome - score) ** 2
        self._count += 1
        if self._count < reference.rows:
            return
        gap, loss = self._sums[0] / self._count, self._sums[1] / self._count
        self._sums, self._count = [0.0, 0.0], 0
        self._calibration.update(gap)
        # ADWIN wants values between 0 and 1; a number's squared error is cut at a multiple of the held-out one.
        scaled = loss if self._bounded else min(loss / max(reference.loss, 1e-300) / _MOST_LOSS, 1.0)
        cut = self._adwin.update(scaled) and self._adwin.rise > 0
        standard = (loss - reference.loss) / max(reference.loss_spread, 1e-300)
        risen = self._rise.update(min(standard, _MOST_LOSS))
        for k, found in enumerate((cut, risen)):
            before = self._since[k]
            self._since[k] = 0 if found else None if before is None else before + 1

    def findings(self, name: str, share: float) -> list[Finding]:
        recent = [since is not None and since < self._recent for since in self._since]
        calibration = self._calibration
        p = calibration.get()
        value = calibration.gap
        return [
            Finding(f"loss {name}", "ADWIN", self._adwin.mean, math.nan, math.nan, recent[0]),
            Finding(f"loss {name}", "Page-Hinkley", self._rise.excess, math.nan, math.nan, recent[1]),
            Finding(f"outcome − score {name}", "calibration", value, math.nan, p, p < share),
        ]

    def save(self) -> dict[str, Any]:
        return {
            "adwin": self._adwin.save(), "rise": self._rise.save(), "calibration": self._calibration.save(),
            "sums": self._sums, "count": self._count, "since": self._since,
        }  # fmt: skip

    def restore(self, kept: Mapping[str, Any]) -> None:
        self._adwin.restore(kept["adwin"])
        self._rise.restore(kept["rise"])
        self._calibration.restore(kept["calibration"])
        self._sums, self._count = [float(value) for value in kept["sums"]], int(kept["count"])
        self._since = list(kept["since"])


def _words(finding: Finding) -> str:
    if finding.test == "distribution":
        return f"{finding.what} has moved (PSI {finding.value:.2f}, KS {finding.distance:.2f}, p {finding.p:.1g})"
    if finding.what == ALL:
        return f"all features are {finding.value:.1f} times as far from training as usual (p {finding.p:.1g})"
    if finding.test == "calibration":
        return f"{finding.what} is {finding.value:+.3f} (p {finding.p:.1g})"
    return f"{finding.what} has risen ({finding.test})"


def _plain(finding: Finding) -> list[Any]:
    numbers = [value if math.isfinite(value) else None for value in (finding.value, finding.distance, finding.p)]
    return [finding.what, finding.test, *numbers, finding.alarm]


def _finding(kept: list[Any]) -> Finding:
    what, test, *numbers, alarm = kept
    value, distance, p = (math.nan if number is None else float(number) for number in numbers)
    return Finding(what, test, value, distance, p, bool(alarm))


def stride_of(window_bars: int) -> int:
    """Bars between those of a window that are looked at."""
    return max(math.ceil(window_bars / ROWS), 1)
