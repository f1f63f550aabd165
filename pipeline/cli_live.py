"""The commands around live trading."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli_options import ConfigFile, DryRun, IntervalOption, Json, Overrides, Symbols, Workdir


class JournalAction(StrEnum):
    """What `pipeline journal` can do."""

    show = "show"
    verify = "verify"
    export = "export"
    restore = "restore"


def serve(
    config: ConfigFile = None,
    symbol: Symbols = None,
    interval: IntervalOption = None,
    set_: Overrides = None,
    dry_run: DryRun = False,
    json: Json = False,
    workdir: Workdir = None,
    replay: Annotated[
        tuple[str, str] | None,
        typer.Option("--replay", metavar="FROM TO", help="Live through stored bars, and compare with the batch files."),
    ] = None,
    restart_every: Annotated[
        int | None,
        typer.Option("--restart-every", min=1, metavar="N", help="Build all anew from saved state every N bars."),
    ] = None,
) -> None:
    """Decide bar by bar as live trading does; exit 1 if a replay differs from the batch stages.

    Example: pipeline serve -c configs/demo.yaml --replay 2023-06-01 2023-07-01 --set signals.predictions=predict
    """
    from pipeline.stages.runner import Options
    from pipeline.stages.serve import serve_replay

    if replay is None:
        raise typer.BadParameter("give --replay FROM TO", param_hint="--replay")
    options = Options(config, symbol or (), interval, set_ or (), dry_run, json, workdir)
    serve_replay(options, replay, restart_every)


def journal(
    action: Annotated[JournalAction, typer.Argument(help="What to do.")] = JournalAction.show,
    config: ConfigFile = None,
    set_: Overrides = None,
    json: Json = False,
    workdir: Workdir = None,
    store: Annotated[
        str | None, typer.Option("--store", metavar="WHERE", help="A file or postgresql://… instead of the config's.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="The export, .parquet or .csv: to write, or restore.")
    ] = None,
    last: Annotated[int, typer.Option("--last", min=1, metavar="N", help="Records to show.")] = 20,
    salvage: Annotated[
        bool, typer.Option("--salvage", help="Of a damaged journal, export the records before the damage.")
    ] = False,
) -> None:
    """Show the live journal, verify it, export it, or restore it from an export.

    Example: pipeline journal verify -c configs/demo.yaml
    """
    from pipeline.stages.journal_command import run
    from pipeline.stages.runner import Options

    run(action.value, Options(config, (), None, set_ or (), False, json, workdir), store, file, last, salvage)
