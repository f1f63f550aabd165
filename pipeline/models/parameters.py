"""Parameters that a config passes on to an algorithm: known by name, and none that the pipeline sets itself."""

import difflib
from collections.abc import Sequence
from functools import cache
from typing import Any

from pipeline.config.training import Algorithm
from pipeline.errors import BadInput

# LightGBM passes over names that it does not know, and one value wins silently where two names mean the same.
_OWN_KEYS = {"num_iterations": "rounds", "early_stopping_round": "early_stopping"}
_FIXED = ("num_threads", "deterministic", "verbosity", "force_col_wise", "force_row_wise", "feature_pre_filter")
_LOGISTIC, _RIDGE = ("C", "tol", "l1_ratio"), ("alpha", "tol")


def lightgbm_parameters(algorithm: Algorithm) -> dict[str, Any]:
    """The algorithm's parameters under LightGBM's own names, whichever alias was written.

    Raises BadInput: a name that LightGBM does not know (names the nearest), given twice, or not for the config to set.
    """
    names = _lightgbm_names()
    result: dict[str, Any] = {}
    for written, value in algorithm.params.items():
        where = f"train.algorithms: {algorithm.name}: params.{written}"
        if written not in names:
            near = difflib.get_close_matches(written, names, 1)
            raise BadInput(
                f"{where}: LightGBM has no such parameter",
                f"did you mean '{near[0]}'?" if near else "see https://lightgbm.readthedocs.io, Parameters",
            )
        name = names[written]
        if name in _OWN_KEYS:
            raise BadInput(f"{where}: is not passed on", f"write `{_OWN_KEYS[name]}: {value}` beside `params`")
        if name in _FIXED:
            raise BadInput(f"{where}: is fixed, so that results repeat bit for bit", "leave it out")
        if name in result:
            raise BadInput(f"{where}: means '{name}', which is given as well", "leave one of them out")
        result[name] = value
    return result


def linear_parameters(algorithm: Algorithm, classification: bool) -> dict[str, Any]:
    """Those of the logistic or the ridge regression; an algorithm may have both, for labels of both kinds.

    Raises BadInput: a name that neither has.
    """
    for written in algorithm.params:
        if written not in _LOGISTIC + _RIDGE:
            raise BadInput(
                f"train.algorithms: {algorithm.name}: linear has no parameter '{written}'",
                f"it has: {', '.join(_LOGISTIC)} for yes or no, {', '.join(_RIDGE)} for numbers",
            )
    known = _LOGISTIC if classification else _RIDGE
    return {name: value for name, value in algorithm.params.items() if name in known}


def check_parameters(algorithms: Sequence[Algorithm]) -> None:
    """Check the names of all parameters before anything is computed. Raises BadInput: as the functions above."""
    for algorithm in algorithms:
        if algorithm.kind == "linear":
            linear_parameters(algorithm, True)
        else:
            lightgbm_parameters(algorithm)


@cache
def _lightgbm_names() -> dict[str, str]:
    # Every name and alias that the installed library knows → its main name.
    from pipeline.models.lightgbm import aliases

    return {alias: name for name, others in aliases().items() for alias in (name, *others)}
