"""The commands of the gate: which bundle may trade, and where."""

from enum import StrEnum
from typing import Annotated

import typer

from pipeline.cli_options import ConfigFile, DryRun, IntervalOption, Json, Overrides, Symbols, Workdir


class Step(StrEnum):
    """Where a bundle may go."""

    shadow = "shadow"
    testnet = "testnet"
    live = "live"


def promote(
    bundle: Annotated[
        str | None, typer.Argument(help="Bundle, or `trained` for what `train` wrote; the newest if absent.")
    ] = None,
    config: ConfigFile = None,
    symbol: Symbols = None,
    interval: IntervalOption = None,
    set_: Overrides = None,
    dry_run: DryRun = False,
    json: Json = False,
    workdir: Workdir = None,
    to: Annotated[Step | None, typer.Option("--to", help="Step to take; the next one if absent.")] = None,
    store: Annotated[
        str | None, typer.Option("--store", metavar="WHERE", help="Journal: a file or postgresql://….")
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of", metavar="DATE", help="Judge as on that day: tries the gate on old bars, grants nothing."
        ),
    ] = None,
) -> None:
    """Let a bundle take a step towards real money if the gate's checks pass; exit 1 if one fails.

    Example: pipeline promote -c configs/btcusdt-5m.yaml --to shadow
    """
    from pipeline.stages.promote import promote as run
    from pipeline.stages.runner import Options

    options = Options(config, symbol or (), interval, set_ or (), dry_run, json, workdir)
    run(options, bundle, to.value if to else None, store, as_of)


def rollback(
    config: ConfigFile = None,
    set_: Overrides = None,
    dry_run: DryRun = False,
    json: Json = False,
    workdir: Workdir = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="BUNDLE", help="One that was live before; the last such if absent.")
    ] = None,
) -> None:
    """Go back to the champion before; a running `serve` follows at its next bar.

    Example: pipeline rollback -c configs/btcusdt-5m.yaml
    """
    from pipeline.stages.promote import rollback as run
    from pipeline.stages.runner import Options

    run(Options(config, (), None, set_ or (), dry_run, json, workdir), to)


def bundles(config: ConfigFile = None, set_: Overrides = None, json: Json = False, workdir: Workdir = None) -> None:
    """List the bundles: age, stage, champion and challenger, certificate, headline.

    Example: pipeline bundles -c configs/btcusdt-5m.yaml
    """
    from pipeline.stages.promote import bundles as show
    from pipeline.stages.runner import Options

    show(Options(config, (), None, set_ or (), False, json, workdir))
