"""What a search found, as result.json: trials, importances, how much of the best is luck, and the holdout."""

import warnings
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.stages.search_space import shown
from pipeline.stages.search_study import Study, complete, finished, read_returns, values_of
from pipeline.stages.times import iso

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from pipeline.stages.optimize import Outcome, Search


def result_of(
    search: "Search", opened: "optuna.Study", chosen: "FrozenTrial", outcome: "Outcome | None"
) -> dict[str, Any]:
    """The content of result.json."""
    study, config = search.study, search.config
    trials = [_trial(trial, study) for trial in finished(opened)]
    standing = study.space.standing()
    same = [trial for trial in trials if trial["values"] == standing and trial["complete"]]
    evidence, overfitting = _luck(study, opened, chosen)
    result = {
        "name": config.name,
        "interval": config.interval,
        "symbols": config.symbols,
        "config": study.space.source,
        "objective": config.optimize.objective,
        "seed": config.seed,
        "inner": [[iso(start), iso(stop)] for start, stop in search.inner],
        "outer": [iso(search.outer[0][0]), iso(search.outer[-1][1])],
        "space": {key: axis.model_dump(mode="json", exclude_none=True) for key, axis in study.space.axes.items()},
        "best": next(trial for trial in trials if trial["number"] == chosen.number),
        "standing": same[0] if same else None,
        "evidence": evidence,
        "overfitting": overfitting,
        "holdout": _holdout(outcome),
        "importances": _importances(opened, config.seed),
        "trials": trials,
    }
    return {**result, "sentence": sentence(result)}


def table_lines(result: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that the summary prints."""
    best, standing, holdout = result["best"], result["standing"], result["holdout"]
    lines = {"best": f"trial {best['number']}, {_told(best, result['objective'])} on the inner blocks"}
    if standing:
        same = standing["number"] == best["number"]
        lines["config as it stands"] = "the best" if same else f"{_told(standing, result['objective'])}"
    lines |= {key: shown(value) for key, value in best["values"].items()}
    if result["evidence"]:
        lines["luck"] = result["evidence"]["sentence"]
    if result["overfitting"]:
        lines["overfitting"] = result["overfitting"]["sentence"]
    if holdout:
        again = "" if holdout["looks"] == 1 else f"; {holdout['looks']} sets have been tried on it: no longer unseen"
        lines["holdout"] = _held(holdout) + again
    return lines | {"in short": result["sentence"]}


def sentence(result: Mapping[str, Any]) -> str:
    """The result in plain words."""
    best, evidence, holdout = result["best"], result["evidence"], result["holdout"]
    days = evidence["n"] if evidence else 0
    text = f"Of {len(result['trials'])} sets the best was trial {best['number']}"
    if evidence and evidence["sharpe"] is not None:
        text += f": a Sharpe ratio of {evidence['sharpe']:.2f} over {days} days of inner blocks, {_proof(evidence)}"
    if holdout is None:
        return f"{text}. The holdout has not been looked at."
    text += f". On the bars kept out of the search: {_held(holdout)}."
    if holdout["looks"] > 1:
        text += f" It is the {holdout['looks']}th set tried on them, so they are no longer unseen."
    return text


def _proof(evidence: Mapping[str, Any]) -> str:
    if evidence["dsr"] >= evidence["confidence"]:
        return f"more than luck explains (DSR {evidence['dsr']:.2f})"
    if evidence["sharpe"] <= evidence["sr0"]:
        return f"no more than luck alone shows ({evidence['sr0']:.2f}; DSR {evidence['dsr']:.2f})"
    beyond = f"more than luck shows on average ({evidence['sr0']:.2f})"
    return f"{beyond}, but not beyond doubt (DSR {evidence['dsr']:.2f}, {evidence['confidence']:.2f} needed)"


def _told(trial: Mapping[str, Any], objective: str) -> str:
    if objective == "log_loss":
        return f"{trial['objective']:.2%} of the loss saved"
    return f"Sharpe {trial['sharpe']:.2f}, {trial['total_return']:+.1%}, {trial['trades']:,} trades"


def _held(holdout: Mapping[str, Any]) -> str:
    if holdout["sharpe"] is None:
        return f"{np.mean(list(holdout['skill'].values())):.2%} of the loss saved"
    return (
        f"Sharpe {holdout['sharpe']:.2f}, {holdout['total_return']:+.1%} in {holdout['trades']:,} trades "
        f"(the price {holdout['price']:+.1%}; probability that the Sharpe ratio is above 0: {holdout['psr']:.2f})"
        if holdout["psr"] is not None
        else f"{holdout['total_return']:+.1%} in {holdout['trades']:,} trades (the price {holdout['price']:+.1%})"
    )


def _trial(trial: "FrozenTrial", study: Study) -> dict[str, Any]:
    from optuna.trial import TrialState

    facts = trial.user_attrs
    return {
        "number": trial.number,
        "complete": trial.state == TrialState.COMPLETE,
        "blocks": facts.get("blocks", 0),
        "values": values_of(trial, study.space.axes),
        **{name: facts.get(name) for name in ("objective", "sharpe", "trades", "total_return", "skill", "refused")},
        "worth": trial.value,
        "by_block": [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)],
    }


def _luck(study: Study, opened: "optuna.Study", chosen: "FrozenTrial") -> tuple[Any, Any]:
    # The deflated Sharpe ratio after all that the ledger knows of, and the probability of overfitting of this search,
    # which the ledger remembers.
    from pipeline.evaluation.effective_trials import effective_trials
    from pipeline.evaluation.overfitting import pbo
    from pipeline.evaluation.significance import deflated
    from pipeline.evaluation.trials import SEARCH

    if chosen.user_attrs.get("sharpe") is None:
        study.end(True, None, None)
        return None, None
    whole = complete(opened)
    days, matrix = read_returns(study, whole)
    place = [trial.number for trial in whole].index(chosen.number)
    lines = {line.identity for line in study.ledger.read() if line.kind == SEARCH and line.config == study.identity}
    # Sets that were ended early were tried as well: as alike as those that were not.
    alike = effective_trials(matrix, of=max(len(lines), len(whole)), seed=study.config.seed).n
    try:
        traded = matrix[:, np.ptp(matrix, axis=0) > 0]
        overfitting = asdict(pbo(traded, periods=len(days), seed=study.config.seed))
    except ValueError:
        overfitting = None  # too few sets or days to be parted
    study.end(True, overfitting, alike)
    return asdict(deflated(matrix[:, place], study.ledger.tried())), overfitting


def _holdout(outcome: "Outcome | None") -> dict[str, Any] | None:
    from pipeline.evaluation.search import sharpe_or_zero
    from pipeline.evaluation.significance import deflated

    if outcome is None:
        return None
    tried = outcome.tried
    traded = len(tried.days) > 0
    # One set was chosen before these days were seen: nothing to deflate.
    alone = deflated(tried.returns, [0.0]) if traded else None
    return {
        "sharpe": sharpe_or_zero(tried.returns) if traded else None,
        "psr": alone.psr if alone else None,
        "days": len(tried.days),
        "total_return": tried.total_return,
        "trades": tried.trades,
        "skill": tried.skill,
        "price": outcome.price,
        "looks": outcome.looks,
        "curve": [
            [int(day), float(f"{value:.6g}")]
            for day, value in zip(tried.days, np.cumprod(1 + tried.returns), strict=True)
        ],
    }


def _importances(opened: "optuna.Study", seed: int) -> dict[str, dict[str, float]]:
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances

    found: dict[str, dict[str, float]] = {}
    for name, evaluator in (
        ("fanova", FanovaImportanceEvaluator(seed=seed)),
        ("ped_anova", PedAnovaImportanceEvaluator()),
    ):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of few trials; the page says that it is rough
                shares = get_param_importances(opened, evaluator=evaluator)
        except (ValueError, RuntimeError):
            continue  # too few trials, or all of the same worth
        found[name] = {key: float(share) for key, share in shares.items() if np.isfinite(share)}
    return found
