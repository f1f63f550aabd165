"""The study: trials in SQLite, proposed by Optuna, tried on a bench, ended early, and never counted twice.

Killed at any moment, it goes on: a trial that was running is proposed again; one that had ended is in the study, and by
the next look at it in the ledger as well. With one worker every proposal follows from the seed and the trials before
it, so an interrupted search proposes what an uninterrupted one does. With several, it depends on which ended first.
"""

import json
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from filelock import FileLock

from pipeline.artifacts import read_table, sha256_json, write_table
from pipeline.config import Config
from pipeline.config.search import Axis, Optimize
from pipeline.errors import BadInput, ConfigError
from pipeline.evaluation.trials import ENDED, SEARCH, Trial, TrialLedger
from pipeline.stages.search_bench import Bench, Tried
from pipeline.stages.search_space import Space

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

# So many sets refused and none tried through: the search ends with the reason of the last.
HOPELESS = 5


def require_optuna() -> None:
    """Raises BadInput: optuna is not installed."""
    from importlib.util import find_spec

    if find_spec("optuna") is None:
        raise BadInput("optimize: the package 'optuna' is not installed", "pip install 'pipeline[tune]'")


@dataclass(frozen=True)
class Study:
    """One search on the disk.

    folder: of the study. identity: hash of everything that a trial's value follows from but its parameters.
    """

    folder: Path
    space: Space
    config: Config
    identity: str
    data: str
    data_end: str
    ledger: TrialLedger

    @property
    def path(self) -> Path:
        return self.folder / "study.sqlite"

    def returns_path(self, number: int) -> Path:
        """Daily returns of a trial over all blocks."""
        return self.folder / "returns" / f"{number:05d}.parquet"

    def open(self) -> "optuna.Study":
        """The study, made if there is none.

        Raises BadInput: the file was made by another config, space or data, or is damaged.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            arguments = {"connect_args": {"timeout": 60}}
            storage = optuna.storages.RDBStorage(f"sqlite:///{self.path}", engine_kwargs=arguments)
            study = optuna.create_study(
                storage=storage,
                study_name=self.space.name,
                direction="maximize",
                load_if_exists=True,
                pruner=_pruner(self.config.optimize),
            )
        except Exception as error:
            # SQLAlchemy and Alembic have errors of their own for a file that is not a whole database.
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BadInput(
                f"{self.path}: cannot be opened as a study: {reason}", "restore it, or start anew with --no-resume"
            ) from None
        found = study.user_attrs.get("identity")
        if found is None:
            study.set_user_attr("identity", self.identity)
        elif found != self.identity:
            raise BadInput(
                f"{self.path}: belongs to another config, search space or other bars",
                "go back to those, or start anew with --no-resume; the trial ledger remembers what was tried",
            )
        return study

    def recover(self, study: "optuna.Study") -> int:
        """Give up trials that a killed process was at, propose their values again, and complete the ledger.

        The caller holds the search's lock, so nobody is at them. Returns how many there were.
        """
        from optuna.trial import TrialState

        lost = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.RUNNING]
        for trial in lost:
            study.tell(trial.number, state=TrialState.FAIL)
            if "fixed_params" in trial.system_attrs:
                study.enqueue_trial(trial.system_attrs["fixed_params"])
        self.record(study)
        return len(lost)

    def record(self, study: "optuna.Study") -> None:
        """Put the trials that have ended and looked at data into the ledger, those that are not in it."""
        with FileLock(self.folder / "ledger.lock"):
            known = {trial.identity for trial in self.ledger.read()}
            lines = {line.identity: line for trial in finished(study) if (line := self._line(trial)) is not None}
            self.ledger.append(line for identity, line in lines.items() if identity not in known)

    def end(self, chose: bool, overfitting: Mapping[str, Any] | None, effective: float | None) -> None:
        """Say in the ledger what all sets together have shown; the gate reads it. Said again only if it is news.

        chose: whether a set was chosen. overfitting: `pbo`'s figures, None if they cannot be told. effective: how many
        independent trials the sets amount to, None if their returns are not known.
        """
        import pipeline

        lines = self.ledger.read()
        sets = {line.identity for line in lines if line.kind == SEARCH and line.config == self.identity}
        before = [line for line in lines if line.kind == ENDED and line.config == self.identity]
        figures = None
        if overfitting is not None:
            figures = {name: overfitting[name] for name in ("pbo", "low", "high", "sentence")}
        what = {"chose": chose, "objective": self.config.optimize.objective, "overfitting": figures}
        value = None if figures is None else figures["pbo"]
        found = Trial(
            ENDED, self.identity, self.data, pipeline.__version__, self.config.seed, what, len(sets), "pbo", value,
            self.data_end, None, effective,
        )  # fmt: skip
        if sets and (not before or before[-1] != found):
            self.ledger.append([found])

    def _line(self, trial: "FrozenTrial") -> Trial | None:
        attrs = trial.user_attrs
        if "blocks" not in attrs:
            return None  # refused before it saw a bar
        whole = attrs["blocks"] == self.config.optimize.folds
        metric = self.config.optimize.objective
        return Trial(
            SEARCH,
            self.identity,
            self.data,
            attrs["code"],
            self.config.seed,
            {"values": values_of(trial, self.space.axes)},
            1,
            metric if whole else f"{metric}, {attrs['blocks']} of {self.config.optimize.folds} blocks",
            attrs.get("objective"),
            self.data_end,
            [attrs["sharpe"]] if whole and attrs.get("sharpe") is not None else None,
        )


def finished(study: "optuna.Study") -> list["FrozenTrial"]:
    """Trials that are complete or were ended early, in the order of their numbers."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def complete(study: "optuna.Study") -> list["FrozenTrial"]:
    """Trials that have seen all blocks. Optuna gives the others a value too: the last that they were seen to have."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def best(study: "optuna.Study", config: Config) -> "FrozenTrial | None":
    """The best of those that have seen all blocks and traded enough; the earlier of two equals."""
    needed = config.optimize.min_trades if config.optimize.objective == "sharpe" else 0
    fit = [trial for trial in complete(study) if trial.user_attrs.get("trades", 0) >= needed]
    return max(fit, key=lambda trial: (trial.value, -trial.number)) if fit else None


def values_of(trial: "FrozenTrial", axes: Mapping[str, Axis]) -> dict[str, Any]:
    """Key → value of a trial, choices as the config has them."""
    return {key: _value(trial.params[key], axis) for key, axis in axes.items() if key in trial.params}


def read_returns(study: Study, trials: list["FrozenTrial"]) -> tuple[np.ndarray, np.ndarray]:
    """Days [n] and the daily returns [n, trials] of complete trials."""
    tables = [read_table(study.returns_path(trial.number), "optimize", ["day", "return"]) for trial in trials]
    return tables[0]["day"].to_numpy(), np.column_stack([table["return"].to_numpy() for table in tables])


def work(
    study: Study,
    bench: Callable[[], Bench],
    target: int,
    deadline: float | None,
    say: Callable[[str], None],
) -> None:
    """Try sets until so many trials have ended or the time (of time.time) has come; other processes may do the same."""
    opened = study.open()
    place = bench()
    while True:
        with FileLock(study.folder / "ask.lock"):
            trial = _ask(study, opened, target, deadline)
        if trial is None:
            return
        _try(study, opened, trial, place)
        study.record(opened)
        say(_line_of(study, opened, trial.number, target))


def _ask(study: Study, opened: "optuna.Study", target: int, deadline: float | None) -> "optuna.Trial | None":
    from optuna.trial import TrialState

    running = len(opened.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
    begun = len(finished(opened)) + running
    if begun >= target or (deadline is not None and time.time() >= deadline):
        return None
    # A fresh sampler for each: its luck follows from the seed and from how many there were, not from this process.
    opened.sampler = _sampler(study.config.optimize, study.config.seed * 1_000_003 + begun)
    standing = study.space.standing()
    if standing is not None:
        # The config as it stands comes first.
        proposed = {key: _proposed(value, study.space.axes[key]) for key, value in standing.items()}
        others = [trial for trial in opened.get_trials(deepcopy=False) if trial.state != TrialState.FAIL]
        if all(proposed not in (trial.params, trial.system_attrs.get("fixed_params")) for trial in others):
            opened.enqueue_trial(proposed)
    return opened.ask()


def _try(study: Study, opened: "optuna.Study", trial: "optuna.Trial", bench: Bench) -> None:
    from optuna.trial import TrialState

    import pipeline

    settings = study.config.optimize
    values = {key: _value(_suggest(trial, key, axis), axis) for key, axis in study.space.axes.items()}
    standing = "fixed_params" in opened.get_trials(deepcopy=False)[trial.number].system_attrs
    try:
        config = study.space.config(values)
        for tried in bench.tries(config):
            value, found = _worth(settings, tried)
            for name, fact in {"blocks": tried.blocks, "code": pipeline.__version__, **found}.items():
                trial.set_user_attr(name, fact)
            trial.report(value, tried.blocks)
            if tried.blocks < settings.folds and settings.pruning and not standing and trial.should_prune():
                opened.tell(trial, state=TrialState.PRUNED)
                return
    except BadInput as error:
        hopeless = standing or len(finished(opened)) >= HOPELESS
        if hopeless and not isinstance(error, ConfigError) and not complete(opened):
            # The config itself is wrong, not one of many sets.
            opened.tell(trial, state=TrialState.FAIL)
            raise
        trial.set_user_attr("refused", error.message)
        opened.tell(trial, state=TrialState.PRUNED)
        return
    days = pa.table({"day": tried.days, "return": tried.returns})
    write_table(study.returns_path(trial.number), days)
    opened.tell(trial, value)


def _worth(settings: Optimize, tried: Tried) -> tuple[float, dict[str, Any]]:
    from pipeline.evaluation.search import sharpe_or_zero, worth

    found: dict[str, Any] = {"skill": tried.skill}
    if len(tried.days):
        found |= {"sharpe": sharpe_or_zero(tried.returns), "trades": tried.trades, "total_return": tried.total_return}
    if settings.objective == "log_loss":
        value = float(np.mean(list(tried.skill.values()))) if tried.skill else 0.0
        found["objective"] = value
    else:
        found["objective"] = found["sharpe"]
        value = worth(found["sharpe"], tried.trades, settings.min_trades * tried.blocks / settings.folds)
    return value, found


def _line_of(study: Study, opened: "optuna.Study", number: int, target: int) -> str:
    trial = opened.get_trials(deepcopy=False)[number]
    attrs, leader = trial.user_attrs, best(opened, study.config)
    seen = attrs.get("blocks", 0)
    ended = f"after {seen} of {study.config.optimize.folds} blocks" if 0 < seen < study.config.optimize.folds else ""
    traded = f", {attrs['trades']} trades" if "trades" in attrs else ""
    told = "" if "objective" not in attrs else f"{study.config.optimize.objective} {attrs['objective']:.3f}{traded}"
    told = f"refused: {attrs['refused']}" if "refused" in attrs else told
    top = f"; best {leader.user_attrs['objective']:.3f}, trial {leader.number}" if leader else ""
    return f"optimize: {len(finished(opened))}/{target} trial {number}: {told} {ended}".rstrip() + top


def _sampler(settings: Optimize, seed: int) -> Any:
    import optuna

    seed %= 2**32
    if settings.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=settings.startup_trials)


def _pruner(settings: Optimize) -> Any:
    import optuna

    return optuna.pruners.MedianPruner(n_startup_trials=min(5, settings.startup_trials))


def _suggest(trial: "optuna.Trial", key: str, axis: Axis) -> Any:
    if axis.choices is not None:
        return trial.suggest_categorical(key, [json.dumps(choice) for choice in axis.choices])
    assert axis.low is not None and axis.high is not None
    if axis.whole:
        return trial.suggest_int(key, int(axis.low), int(axis.high), step=int(axis.step or 1), log=axis.log)
    step = None if axis.step is None else float(axis.step)
    return trial.suggest_float(key, float(axis.low), float(axis.high), step=step, log=axis.log)


def _value(proposed: Any, axis: Axis) -> Any:
    return json.loads(proposed) if axis.choices is not None else proposed


def _proposed(value: Any, axis: Axis) -> Any:
    return json.dumps(value) if axis.choices is not None else value


def identity_of(space: Space, config: Config, data: str, spans: Any) -> str:
    """Hash of what makes the value of a parameter set: config, space, bars, blocks; not how long the search is."""
    settings = config.optimize.model_dump(mode="json", exclude={"trials", "timeout"})
    raw = space.changed({})
    for section in ("output", "download", "workers"):
        raw.pop(section, None)
    return sha256_json([raw, settings, data, spans])
