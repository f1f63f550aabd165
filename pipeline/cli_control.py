"""The commands that talk to a running `pipeline serve`."""

from typing import Annotated

import typer

from pipeline.cli_options import ConfigFile, Json, Overrides, Workdir


def status(config: ConfigFile = None, set_: Overrides = None, json: Json = False, workdir: Workdir = None) -> None:
    """Show what a running serve does, holds, and waits for; exit 2 if none runs, 3 if it does not answer.

    Example: pipeline status -c configs/btcusdt-5m.yaml
    """
    from pipeline.stages import control
    from pipeline.stages.runner import Options

    control.status(Options(config, overrides=set_ or (), json=json, workdir=workdir))


def pause(
    config: ConfigFile = None,
    set_: Overrides = None,
    json: Json = False,
    workdir: Workdir = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Kept in the journal.")] = "",
) -> None:
    """Let a running serve enter nothing; what it holds stays protected and is left by its rules.

    Example: pipeline pause -c configs/btcusdt-5m.yaml --reason "exchange maintenance"
    """
    from pipeline.stages import control
    from pipeline.stages.runner import Options

    control.pause(Options(config, overrides=set_ or (), json=json, workdir=workdir), reason)


def resume(
    config: ConfigFile = None,
    symbol: Annotated[
        list[str] | None, typer.Option("--symbol", metavar="S", help="Halted symbol to let go on; repeatable.")
    ] = None,
    set_: Overrides = None,
    json: Json = False,
    workdir: Workdir = None,
) -> None:
    """End a pause; with --symbol, let a symbol trade again that was halted.

    Example: pipeline resume -c configs/btcusdt-5m.yaml --symbol BTCUSDT
    """
    from pipeline.stages import control
    from pipeline.stages.runner import Options

    control.resume(Options(config, overrides=set_ or (), json=json, workdir=workdir), symbol or [])


def flatten(
    config: ConfigFile = None,
    symbol: Annotated[
        list[str] | None, typer.Option("--symbol", metavar="S", help="To close; repeatable; all of them if absent.")
    ] = None,
    set_: Overrides = None,
    json: Json = False,
    workdir: Workdir = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Close what a running serve holds, at market, cancel its orders, and pause; exit 1 if something stays open.

    Example: pipeline flatten -c configs/btcusdt-5m.yaml --symbol BTCUSDT
    """
    from pipeline.stages import control
    from pipeline.stages.runner import Options

    control.flatten(Options(config, overrides=set_ or (), json=json, workdir=workdir), symbol or [], yes)


def reset_breaker(
    breaker: Annotated[
        list[str] | None, typer.Argument(metavar="[BREAKER]...", help="As status names them; all of them if absent.")
    ] = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    json: Json = False,
    workdir: Workdir = None,
) -> None:
    """Let a running serve trade again after a breaker has tripped; the journal keeps that it was you.

    Example: pipeline reset-breaker daily_loss -c configs/btcusdt-5m.yaml
    """
    from pipeline.stages import control
    from pipeline.stages.runner import Options

    control.reset_breaker(Options(config, overrides=set_ or (), json=json, workdir=workdir), breaker or [])
