"""The command that searches for parameters."""

from typing import Annotated

import typer

from pipeline.cli_options import ConfigFile, Json, Overrides, Workdir


def optimize(
    config: ConfigFile = None,
    set_: Overrides = None,
    json: Json = False,
    workdir: Workdir = None,
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, metavar="N", help="Trials in all, those of earlier runs included.")
    ] = None,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="2h", help="Begin no trial after so long.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, metavar="N", help="Processes; with 1 a seed repeats to the bit.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on with the study in data/NAME/search, or start anew.")
    ] = True,
    holdout: Annotated[
        bool, typer.Option("--holdout/--no-holdout", help="Look at the bars kept out, or leave them for a later run.")
    ] = True,
) -> None:
    """Search for parameters on inner blocks, then try the best once on bars kept out of it.

    Example: pipeline optimize -c configs/search-1h.yaml --trials 60
    """
    from pipeline.stages.optimize import Limits
    from pipeline.stages.optimize import optimize as search
    from pipeline.stages.runner import Options

    search(
        Options(config, overrides=set_ or (), json=json, workdir=workdir),
        Limits(trials, timeout, workers, resume, holdout),
    )
