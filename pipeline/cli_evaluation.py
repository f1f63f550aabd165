"""The commands around evidence."""

from typing import Annotated

import typer

from pipeline.cli_options import ConfigFile, Json, Overrides, Workdir


def verify(
    config: ConfigFile = None,
    set_: Overrides = None,
    json: Json = False,
    workdir: Workdir = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Fewer cuts and folds, for CI; the same checks of the same columns.")
    ] = False,
) -> None:
    """Look for leaks: does anything that the config makes change with what comes later? Exit 1 if so.

    Example: pipeline verify -c configs/demo.yaml --workdir runs/demo
    """
    from pipeline.stages.runner import Options
    from pipeline.stages.verify import verify

    verify(Options(config, (), None, set_ or (), False, json, workdir), fast)
