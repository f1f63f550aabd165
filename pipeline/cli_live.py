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
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Follow the market and trade on paper; the default.")
    ] = False,
    live: Annotated[bool, typer.Option("--live", help="Send real orders, after a check and a typed word.")] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Decide the bars that have closed, finish the orders, and end; for cron.")
    ] = False,
    replay: Annotated[
        tuple[str, str] | None,
        typer.Option("--replay", metavar="FROM TO", help="Live through stored bars, and compare with the batch files."),
    ] = None,
    restart_every: Annotated[
        int | None,
        typer.Option("--restart-every", min=1, metavar="N", help="Of a replay: build all anew every N bars."),
    ] = None,
    rehearse: Annotated[
        tuple[str, str] | None,
        typer.Option("--rehearse", metavar="FROM TO", help="Trade on a local exchange that repeats the stored bars."),
    ] = None,
    speed: Annotated[
        float, typer.Option("--speed", min=0, metavar="X", help="Of a rehearsal; 0 waits for each decision.")
    ] = 0.0,
    resume: Annotated[bool, typer.Option("--resume", help="Of a rehearsal: go on where the last one ended.")] = False,
    bars: Annotated[int | None, typer.Option("--bars", min=1, metavar="N", help="End after so many bars.")] = None,
    store: Annotated[
        str | None, typer.Option("--store", metavar="WHERE", help="Journal: a file or postgresql://….")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before trading live.")] = False,
    uncertified: Annotated[
        bool, typer.Option("--uncertified", help="Take a bundle that has no valid certificate.")
    ] = False,
) -> None:
    """Trade bar by bar, on paper or live; with --replay, exit 1 if it differs from the batch stages.

    Example: pipeline serve -c configs/demo.yaml --rehearse 2023-12-01 2023-12-08
    """
    from pipeline.lean import keep_small
    from pipeline.stages.runner import Options

    keep_small()
    options = Options(config, symbol or (), interval, set_ or (), dry_run, json, workdir)
    if (shadow, live, replay is not None).count(True) > 1:
        raise typer.BadParameter("give one of --shadow, --live and --replay", param_hint="--live")
    if replay is not None and rehearse is not None:
        raise typer.BadParameter("give one of --replay and --rehearse", param_hint="--rehearse")
    if rehearse is None and (resume or speed):
        raise typer.BadParameter("needs --rehearse FROM TO", param_hint="--resume" if resume else "--speed")
    if replay is None and restart_every is not None:
        raise typer.BadParameter("needs --replay FROM TO", param_hint="--restart-every")
    if replay is not None:
        from pipeline.stages.serve import serve_replay

        serve_replay(options, replay, restart_every)
        return
    from pipeline.stages.serve_live import serve
    from pipeline.stages.serve_wish import Wish

    serve(options, Wish(live, once, bars, yes, uncertified, store, rehearse, speed, resume))


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
