"""The commands. Each imports what it needs when it runs, so that `pipeline --help` is instant."""

import inspect
import os
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline import cli_control, cli_drift, cli_evaluation, cli_gate, cli_lineage, cli_live, cli_search, cli_validation
from pipeline.cli_options import ConfigFile, DryRun, IntervalOption, Json, Overrides, Symbols, Workdir
from pipeline.lean import collect_seldom

app = typer.Typer(
    name="pipeline",
    help="A staged machine-learning trading pipeline for Binance.",
    epilog="Try `pipeline run -c configs/demo.yaml`, then open runs/demo/data/demo/output/report.html.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class What(StrEnum):
    """What `pipeline list` can show."""

    features = "features"
    labels = "labels"
    stages = "stages"
    configs = "configs"


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"pipeline {version('pipeline')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _common(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


def _command(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command; the list of commands shows the first line of its docstring, whole."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        # \b: the example stays on one line, so that it can be copied.
        text = inspect.cleandoc(function.__doc__ or "").replace("\n\nExample:", "\n\n\b\nExample:")
        function.__doc__ = text
        app.command(name, short_help=text.splitlines()[0])(function)
        return function

    return register


def _stage(name: str, summary: str, example: str) -> None:
    def command(
        config: ConfigFile = None,
        symbol: Symbols = None,
        interval: IntervalOption = None,
        set_: Overrides = None,
        dry_run: DryRun = False,
        json: Json = False,
        workdir: Workdir = None,
    ) -> None:
        from pipeline.stages.runner import Options, run_stages

        run_stages([name], Options(config, symbol or (), interval, set_ or (), dry_run, json, workdir))

    command.__doc__ = f"{summary}\n\nExample: {example}"
    _command(name)(command)


_stage(
    "download", "Fetch bars into data/raw, resuming where the last run stopped.", "pipeline download --symbol BTCUSDT"
)
_stage("merge", "Make one complete grid per symbol; fill and list gaps.", "pipeline merge -c configs/btcusdt-5m.yaml")
_stage("features", "Compute the config's features.", "pipeline features -c configs/demo.yaml --dry-run")
_stage("labels", "Compute what the models learn to predict.", "pipeline labels -c configs/demo.yaml")
_stage(
    "train", "Train one model per label and algorithm into MODELS/NAME/trained.", "pipeline train -c configs/demo.yaml"
)
_stage("predict", "Score all bars with the trained models.", "pipeline predict -c configs/demo.yaml")
_stage(
    "predict-rolling",
    "Walk forward: score each block with models trained only on its past.",
    "pipeline predict-rolling -c configs/btcusdt-5m.yaml",
)
_stage(
    "signals",
    "Turn scores into buy and sell signals.",
    "pipeline signals -c configs/demo.yaml --set signals.steps.1.threshold.buy=0.2",
)


_command("cross-validate")(cli_validation.cross_validate)


@_command("simulate")
def simulate(
    config: ConfigFile = None,
    symbol: Symbols = None,
    interval: IntervalOption = None,
    set_: Overrides = None,
    dry_run: DryRun = False,
    json: Json = False,
    workdir: Workdir = None,
    stress: Annotated[
        bool, typer.Option("--stress", help="Also trade with higher costs, later, with lost fills, on other paths.")
    ] = False,
) -> None:
    """Trade the signals on history, after costs.

    Example: pipeline simulate -c configs/demo.yaml --stress
    """
    from pipeline.stages.runner import Options, run_stages

    overrides = [*(set_ or ()), *(["simulate.stress=true"] if stress else [])]
    run_stages(["simulate"], Options(config, symbol or (), interval, overrides, dry_run, json, workdir))


_stage("output", "Write the report, the trades as CSV, and pictures.", "pipeline output -c configs/demo.yaml")


_command("optimize")(cli_search.optimize)
_command("serve")(cli_live.serve)
_command("drift")(cli_drift.drift)


_command("verify")(cli_evaluation.verify)


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
    if_drift: Annotated[
        bool, typer.Option("--if-drift", help="Only if the current bundle has drifted away from the newest bars.")
    ] = False,
) -> None:
    """Fetch new bars, train a new bundle beside the old, and switch to it if everything succeeded.

    Made for cron: one line on standard output, and an exit code.

    Example: pipeline retrain -c configs/btcusdt-5m.yaml --if-drift
    """
    from pipeline.stages.retrain import retrain, retrain_if_drift
    from pipeline.stages.runner import Options

    (retrain_if_drift if if_drift else retrain)(Options(config, overrides=set_ or (), dry_run=dry_run, json=json), keep)


_command("promote")(cli_gate.promote)
_command("rollback")(cli_gate.rollback)
_command("bundles")(cli_gate.bundles)


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


_command("journal")(cli_live.journal)
_command("lineage")(cli_lineage.lineage)
_command("shadow-report")(cli_lineage.shadow_report)
_command("stress")(cli_lineage.stress)
_command("status")(cli_control.status)
_command("pause")(cli_control.pause)
_command("resume")(cli_control.resume)
_command("flatten")(cli_control.flatten)
_command("reset-breaker")(cli_control.reset_breaker)


@_command("check")
def check(
    config: ConfigFile = None,
    symbol: Symbols = None,
    interval: IntervalOption = None,
    set_: Overrides = None,
    json: Json = False,
) -> None:
    """Validate a config, names across its sections included, and say what it amounts to.

    Example: pipeline check -c configs/btcusdt-5m.yaml
    """
    from pipeline.stages.check import check
    from pipeline.stages.runner import Options

    check(Options(config, symbol or (), interval, set_ or (), json=json))


@_command("list")
def list_(
    what: Annotated[What, typer.Argument(help="What to list.")],
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """List what can be written in a config, or with -c what a config makes of it.

    Example: pipeline list features
    """
    from pipeline.stages.catalogue import show_list
    from pipeline.stages.runner import Options

    show_list(what.value, Options(config, json=json))


@_command("import-config")
def import_config(
    old: Annotated[Path, typer.Argument(metavar="OLD.jsonc", help="Config of intelligent-trading-bot.")],
    to: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to; standard output otherwise.")
    ] = None,
) -> None:
    """Convert a config of intelligent-trading-bot, and say what could not be carried over.

    Example: pipeline import-config config-sample-1min.jsonc -o configs/mine.yaml
    """
    from pipeline.stages.import_config import import_config

    import_config(old, to)


@_command("schema")
def schema(
    to: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to; standard output otherwise.")
    ] = None,
) -> None:
    """Print the JSON Schema of a config file, for editors.

    Example: pipeline schema -o configs/schema.json
    """
    from pipeline.config.schema import schema_text
    from pipeline.stages.reporting import print_or_write

    print_or_write(schema_text(), to)


@_command("dvc")
def dvc(config: ConfigFile = None, dry_run: DryRun = False) -> None:
    """Write dvc.yaml for a config, so that `dvc repro` runs its stages.

    Example: pipeline dvc -c configs/btcusdt-5m.yaml
    """
    from pipeline.stages.dvc_file import write_dvc_file
    from pipeline.stages.runner import Options

    write_dvc_file(Options(config, dry_run=dry_run))


@_command("show")
def show(config: ConfigFile = None, json: Json = False, workdir: Workdir = None) -> None:
    """Print a finished run's headline figures and where its report is.

    Example: pipeline show -c configs/demo.yaml
    """
    from pipeline.stages.headline import show
    from pipeline.stages.runner import Options

    show(Options(config, json=json, workdir=workdir))


def main() -> None:
    """Entry point: runs a command and turns errors into a message and an exit code."""
    collect_seldom()
    try:
        code = app(standalone_mode=False) or 0
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):
        # The reader has gone (`pipeline list features | head`); typer makes SystemExit of that, and only of
        # that. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        from pipeline.cli_errors import report

        code = report(error)
    if code == 130:
        print("interrupted: nothing is half-written; run the same command to go on", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
