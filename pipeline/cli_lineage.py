"""The commands that look at what live trading did: where an order came from, and whether it was right."""

from typing import Annotated

import typer

from pipeline.cli_options import ConfigFile, Json, Overrides, Workdir

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
