"""The trial ledger: every fit and every simulated parameter set, so that luck can be counted.

The best of many tries looks good by chance; how good depends on how many there were. The ledger remembers them:
one JSON line per trial or set of trials, each with the hash of the line before, appended and never rewritten.
Source: Bailey & López de Prado (2014), The Deflated Sharpe Ratio.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.hash_chain import HashChain, canonical

# What makes a trial another one; when it ran, what came of it and by which code do not.
IDENTITY = ("kind", "config", "data", "seed", "what")
# A model that is fitted is no strategy yet: those count that were traded.
FITS = ("fit", "fold")
# A set that a search tried; and what the search found out about all of its sets together when it ended, which is no
# trial of its own.
SEARCH, ENDED = "search", "search ended"
# Share of a normal distribution below its mean, and below a standard deviation above it.
ONE_SIGMA = (0.5, 0.8413447460685429)


@dataclass(frozen=True)
class Trial:
    """One line.

    kind: fit, fold, simulate, grid, search, search ended, holdout. config, data, code: hashes. what: the parameters
    that were tried. sets: how many parameter sets the line stands for. metric, value: the figure that was looked at; of
    a grid, the best. time: the end of the data, ISO 8601. sharpes: annual Sharpe ratios of daily returns, of all the
    sets or of an even sample of them. effective: how many independent trials the sets amount to; None if that was not
    measured, 0 for a set that another line counts.
    """

    kind: str
    config: str
    data: str
    code: str
    seed: int
    what: Mapping[str, Any]
    sets: int
    metric: str
    value: float | None
    time: str
    sharpes: Sequence[float] | None = None
    effective: float | None = None

    @property
    def identity(self) -> str:
        """Equal for the same try, whenever it was made."""
        return canonical({key: getattr(self, key) for key in IDENTITY})


@dataclass(frozen=True)
class Tried:
    """What was tried: distinct parameter sets, as how many independent ones they count, and the variance of their
    annual Sharpe ratios as `luck_variance` has it, None if unknown."""

    count: int
    effective: float
    variance: float | None

    def __post_init__(self) -> None:
        if not (self.count >= 1 and self.effective >= 1):
            raise ValueError(f"{self.count} trials, {self.effective} effective: the one to judge is among them")

    @staticmethod
    def independent(sharpes: npt.ArrayLike) -> "Tried":
        """Trials that have nothing in common, by the annual Sharpe ratio of each."""
        values = np.asarray(sharpes, np.float64)
        if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
            raise ValueError("the Sharpe ratios of the trials must be one row of finite numbers")
        return Tried(len(values), float(len(values)), luck_variance(values, np.ones(len(values))))


@dataclass(frozen=True)
class Search:
    """The newest search of a ledger.

    sets: that it tried. ended: whether it has said what it found. chose: whether it chose one of them. objective: that
    it chose by. overfitting: `pbo`'s figures (pbo, low, high, sentence); None if they cannot be told.
    """

    sets: int
    ended: bool
    chose: bool = False
    objective: str = ""
    overfitting: Mapping[str, Any] | None = None


class TrialLedger:
    """The ledger at a path, which need not exist yet; several processes may append at once."""

    def __init__(self, path: Path) -> None:
        self._chain = HashChain(
            path, "restore it from a backup; moving it away starts a new ledger and forgets the trials"
        )

    @property
    def cut(self) -> int:
        """Bytes of a torn last line that were dropped."""
        return self._chain.cut

    def append(self, trials: Iterable[Trial]) -> None:
        """Add lines, on the disk when this returns.

        Raises BadInput: the ledger is damaged. StorageError: it cannot be written.
        """
        self._chain.append(_plain(trial) for trial in trials)

    def read(self) -> list[Trial]:
        """All lines, oldest first. Raises BadInput: a line was altered, removed or damaged (names it)."""
        return [Trial(**line) for line in self._chain.read()]

    def count(self, *kinds: str) -> int:
        """Distinct parameter sets of these kinds, repeated ones counted once."""
        sets = {trial.identity: trial.sets for trial in self.read() if trial.kind in kinds}
        return sum(sets.values())

    def tried(self) -> Tried:
        """All that was traded, whatever its kind; repeated sets count once, by their last line.

        An empty ledger is one trial: the one that somebody is about to judge. Sets whose independence was not measured
        count as independent, those of a search until it has ended.
        """
        every = self.read()
        lines = list({trial.identity: trial for trial in every if trial.kind not in (*FITS, ENDED)}.values())
        count = sum(line.sets for line in lines)
        effective = sum(float(line.sets) if line.effective is None else line.effective for line in lines)
        for ended in _ended(every).values():
            if ended.effective is not None:
                effective = effective - ended.sets + ended.effective
        known = [(line.sets, line.sharpes) for line in lines if line.sharpes]
        # Ratios of a sample stand for the sets that it was taken from.
        weights = [np.full(len(sharpes), sets / len(sharpes)) for sets, sharpes in known]
        sharpes = [np.asarray(sharpes, np.float64) for _, sharpes in known]
        variance = luck_variance(np.concatenate(sharpes), np.concatenate(weights)) if known else None
        return Tried(max(count, 1), max(min(effective, count), 1.0), variance)

    def search(self) -> Search | None:
        """The newest search; None if there was none. Raises BadInput: the ledger is damaged."""
        every = self.read()
        lines = {trial.identity: trial for trial in every if trial.kind == SEARCH}
        if not lines:
            return None
        config = list(lines.values())[-1].config
        sets = sum(trial.config == config for trial in lines.values())
        ended = _ended(every).get(config)
        # Sets that were tried after it had ended have not been looked at together with the others.
        if ended is None or ended.sets < sets:
            return Search(sets, False)
        return Search(sets, True, ended.what["chose"], ended.what["objective"], ended.what["overfitting"])


def _ended(trials: Iterable[Trial]) -> dict[str, Trial]:
    # The last word of each search, by its config.
    return {trial.config: trial for trial in trials if trial.kind == ENDED}


def luck_variance(sharpes: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> float | None:
    """Squared distance from the median of Sharpe ratios to the one that 84 % are below; None of fewer than two.

    It is the variance where ratios scatter as luck does, normally. In a search they do not: sets that trade too much
    lose to costs without bound, a few may have skill, and neither says how high luck reaches. Of two years of 100
    strategies, one with a true ratio of 3, the deflated ratio finds that one in 46 % with this, in 43 % with the
    sample's variance.
    """
    if len(sharpes) < 2:
        return None
    order = np.argsort(sharpes, kind="stable")
    share = (np.cumsum(weights[order]) - weights[order] / 2) / weights.sum()
    middle, high = np.interp(ONE_SIGMA, share, sharpes[order])
    return float((high - middle) ** 2)


def _plain(trial: Trial) -> dict[str, Any]:
    # What was not measured is left out.
    return {
        name: value
        for name in Trial.__dataclass_fields__
        if (value := getattr(trial, name)) is not None or name == "value"
    }
