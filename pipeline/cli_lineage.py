"""The commands that look at what live trading did: where an order came from, and whether it was right."""

from enum import StrEnum
from typing import Annotated

import typer

from pipeline.cli_options import ConfigFile, IntervalOption, Json, Overrides, Symbols, Workdir

Store = Annotated[
    str | None, typer.Option("--store", metavar="WHERE", help="A file or postgresql://… instead of the config's.")
]


def lineage(
    order: Annotated[str, typer.Argument(help="Client or exchange order id, its beginning, or SYMBOL@TIME.")],
    config: ConfigFile = None,
    set_: Overrides = None,
    json: Json = False,
    workdir: Workdir = None,
    store: Store = None,
) -> None:
    """Walk from an order back to the downloaded files; exit 1 if a link is broken.

    Example: pipeline lineage BTCUSDT@2024-01-05T10:00 -c configs/demo.yaml
    """
    from pipeline.stages.lineage import lineage as walk
    from pipeline.stages.runner import Options

    walk(Options(config, (), None, set_ or (), False, json, workdir), order, store)


class Mode(StrEnum):
    """Which account of a journal."""

    shadow = "shadow"
    live = "live"


def shadow_report(
    config: ConfigFile = None,
    symbol: Symbols = None,
    interval: IntervalOption = None,
    set_: Overrides = None,
    json: Json = False,
    workdir: Workdir = None,
    mode: Annotated[Mode | None, typer.Option("--mode", help="Whose trades; of the last start if absent.")] = None,
    store: Store = None,
) -> None:
    """Hold what was traded against a simulation of the same bars; exit 1 if the gate's checks fail.

    Example: pipeline shadow-report -c configs/demo.yaml
    """
    from pipeline.stages.runner import Options
    from pipeline.stages.shadow_report import shadow_report as compare

    options = Options(config, symbol or (), interval, set_ or (), False, json, workdir)
    compare(options, mode.value if mode else None, store)


def stress(
    speed: Annotated[float, typer.Option("--speed", help="Timetable's time over real time.")] = 60.0,
    hours: Annotated[float, typer.Option("--hours", help="Of the timetable, for each rate.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Of the times and the market.")] = 7,
    least: Annotated[float, typer.Option("--least", help="Share of orders that has to be filled.")] = 0.99,
    json: Json = False,
) -> None:
    """Put the path of an order under load on a local exchange, and compare with the last time.

    Example: pipeline stress --speed 360 --hours 0.5
    """
    from pipeline.stages.stress import stress as run

    run(speed, hours, seed, least, json)
