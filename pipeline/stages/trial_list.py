"""`pipeline trials`: the ledger for people."""

from collections.abc import Mapping
from typing import Any

from pipeline.errors import BadInput, CheckFailed
from pipeline.evaluation.trials import Trial
from pipeline.stages.reporting import print_json
from pipeline.stages.runner import Options
from pipeline.stages.trials import FITTED, SIMULATED, ledger


def show(options: Options, verify: bool) -> None:
    """Print the latest trials and how many distinct ones there are.

    Raises CheckFailed: with `verify`, the chain is broken.
    """
    _, layout = options.load()
    book = ledger(layout)
    try:
        trials = book.read()
    except BadInput as error:
        if verify:
            raise CheckFailed(error.message, error.hint) from None
        raise
    counts = {"simulated": book.count(*SIMULATED), "fitted": book.count(*FITTED)}
    effective = book.tried().effective if counts["simulated"] else 0.0
    if options.json:
        print_json(
            {"lines": len(trials), **counts, "effective": effective, "latest": [_row(trial) for trial in trials[-20:]]}
        )
        return
    for trial in trials[-20:]:
        value = "" if trial.value is None else f"{trial.value:.4g}"
        what = ", ".join(f"{key} {_short(shown)}" for key, shown in trial.what.items())
        print(f"{trial.time[:10]}  {trial.kind:<12}{trial.sets:>7,}  {trial.metric:<14}{value:>10}  {what}")
    chain = "the chain of hashes is whole" if verify else "--verify checks the chain"
    simulated = f"{counts['simulated']:,} parameter sets simulated (as many as {effective:,.0f} independent ones)"
    print(f"{simulated}, {counts['fitted']:,} models fitted; {chain}")


def _short(value: Any) -> str:
    if isinstance(value, Mapping) and "sentence" in value:
        return str(value["sentence"])
    if isinstance(value, list):
        return f"{value[0]:.4g} … {value[-1]:.4g}" if value else "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _row(trial: Trial) -> dict[str, Any]:
    return {name: getattr(trial, name) for name in ("kind", "what", "sets", "metric", "value", "time")}
