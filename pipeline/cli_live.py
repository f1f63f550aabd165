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


@_command("trials")
def trials(
    config: ConfigFile = None,
    set_: Overrides = None,
    json: Json = False,
    workdir: Workdir = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the chain of hashes; exit 1 if it is broken.")
    ] = False,
) -> None:
    """Show the trial ledger: what was fitted and simulated so far.

    Example: pipeline trials -c configs/demo.yaml --verify
    """
    from pipeline.stages.runner import Options
    from pipeline.stages.trial_list import show

    show(Options(config, (), None, set_ or (), False, json, workdir), verify)


@_command("run")
def run(
    config: ConfigFile = None,
    symbol: Symbols = None,
    interval: IntervalOption = None,
    set_: Overrides = None,
    dry_run: DryRun = False,
    json: Json = False,
    workdir: Workdir = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Write where `dvc repro` writes.")] = False,
    first: Annotated[str, typer.Option("--from", metavar="STAGE", help="Start at this stage.")] = "download",
    last: Annotated[str, typer.Option("--to", metavar="STAGE", help="Stop after this stage.")] = "output",
) -> None:
    """Run the whole chain without DVC, in runs/NAME unless --in-place.

    Example: pipeline run -c configs/demo.yaml --from signals
    """
    from pipeline.stages.chain import run_chain
    from pipeline.stages.runner import Options

    run_chain(Options(config, symbol or (), interval, set_ or (), dry_run, json, workdir), first, last, in_place)


@_command("retrain")
def retrain(
    config: ConfigFile = None,
    set_: Overrides = None,
    dry_run: DryRun = False,
    json: Json = False,
    keep: Annotated[int, typer.Option("--keep", min=1, metavar="N", help="Bundles to keep, newest first.")] = 10,
) -> None:
    """Fetch new bars, train a new bundle beside the old, and switch to it if everything succeeded.

    Made for cron: one line on standard output, and an exit code.

    Example: pipeline retrain -c configs/btcusdt-5m.yaml
    """
    from pipeline.stages.retrain import retrain
    from pipeline.stages.runner import Options

    retrain(Options(config, overrides=set_ or (), dry_run=dry_run, json=json), keep)


@_command("exchange")
def exchange(
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="PATH", help="File or folder of bars; a synthetic market otherwise."),
    ] = None,
    symbol: Symbols = None,
    interval: Annotated[str, typer.Option("--interval", metavar="I", help="Length of the bars: 1m, 5m, 1h.")] = "1m",
    start: Annotated[
        str | None, typer.Option("--start", metavar="TIME", help="Where trading begins; earlier bars are history.")
    ] = None,
    end: Annotated[str | None, typer.Option("--end", metavar="TIME", help="Bars before this time.")] = None,
    speed: Annotated[
        str, typer.Option("--speed", metavar="X", help="Market time over real time; step to wait for requests; max.")
    ] = "1",
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 for any free one.")] = 8900,
    seed: Annotated[int, typer.Option("--seed", help="Of everything that is drawn.")] = 7,
    scenario: Annotated[
        Path | None, typer.Option("--scenario", metavar="FILE", help="Accounts, fees, filling, faults (YAML).")
    ] = None,
    journal: Annotated[
        Path | None, typer.Option("--journal", metavar="FILE", help="Write down all that happens.")
    ] = None,
    market: Annotated[str, typer.Option("--market", metavar="M", help="spot, or um for USD-M futures.")] = "spot",
    funding: Annotated[
        Path | None, typer.Option("--funding", metavar="FILE", help="Funding rates; {symbol} is filled in.")
    ] = None,
    recorded: Annotated[
        list[Path] | None,
        typer.Option("--recorded", metavar="FILE", help="A recorded book and its trades; repeatable."),
    ] = None,
    json: Json = False,
) -> None:
    """Run a local exchange that Binance clients can use: replayed bars, matched orders, faults on demand.

    Example: pipeline exchange --symbol BTCUSDT --speed 60
    """
    from pipeline.stages.exchange import serve_exchange

    serve_exchange(
        data, symbol or (), interval, start, end, speed, host, port, seed, scenario, journal, json,
        market, funding, recorded or (),
    )  # fmt: skip


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
