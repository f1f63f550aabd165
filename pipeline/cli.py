"""The commands. Each imports what it needs when it runs, so that `pipeline --help` is instant."""

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="pipeline",
    help="A staged machine-learning trading pipeline for Binance.",
    epilog="Try `pipeline run -c configs/demo.yaml`, then open data/demo/output/report.html.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", metavar="FILE", help="Config file, such as configs/demo.yaml.")]
Symbols = Annotated[list[str] | None, typer.Option("--symbol", metavar="S", help="Instead of the config's symbols; repeatable.")]
IntervalOption = Annotated[str | None, typer.Option("--interval", metavar="1m", help="Instead of the config's interval.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Change one key of the config; repeatable.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check config and inputs, print the plan, write nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print one machine-readable line instead of text.")]
Workdir = Annotated[Path | None, typer.Option("--workdir", metavar="DIR", help="Keep data/ and MODELS/ of this run below DIR.")]


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
    app.command(name)(command)


_stage("download", "Fetch bars into data/raw, resuming where the last run stopped.", "pipeline download --symbol BTCUSDT")
_stage("merge", "Make one complete grid per symbol; fill and list gaps.", "pipeline merge -c configs/btcusdt-5m.yaml")
_stage("features", "Compute the config's features.", "pipeline features -c configs/demo.yaml --dry-run")
_stage("labels", "Compute what the models learn to predict.", "pipeline labels -c configs/demo.yaml")
_stage("train", "Train one model per label and algorithm into MODELS/NAME/trained.", "pipeline train -c configs/demo.yaml")
_stage("predict", "Score all bars with the trained models.", "pipeline predict -c configs/demo.yaml")
_stage("predict-rolling", "Walk forward: score each block with models trained only on its past.", "pipeline predict-rolling -c configs/btcusdt-5m.yaml")
_stage("signals", "Turn scores into buy and sell signals.", "pipeline signals -c configs/demo.yaml --set signals.steps.1.threshold.buy=0.2")
_stage("simulate", "Trade the signals on history, after costs.", "pipeline simulate -c configs/demo.yaml")
_stage("output", "Write the report, the trades as CSV, and pictures.", "pipeline output -c configs/demo.yaml")


@app.command()
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


def main() -> None:
    """Entry point: runs a command and turns errors into a message and an exit code."""
    try:
        app()
    except KeyboardInterrupt:
        print("interrupted; nothing is half-written", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        from pipeline.errors import PipelineError

        if not isinstance(error, PipelineError):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
