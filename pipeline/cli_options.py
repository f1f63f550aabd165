"""The options that many commands take."""

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="Config file; configs/default.yaml if there is one."),
]
Symbols = Annotated[
    list[str] | None, typer.Option("--symbol", metavar="S", help="Instead of the config's symbols; repeatable.")
]
IntervalOption = Annotated[
    str | None, typer.Option("--interval", metavar="1m", help="Instead of the config's interval.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Change one key of the config; repeatable.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check config and inputs, print the plan, write nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print one machine-readable line instead of text.")]
Workdir = Annotated[
    Path | None, typer.Option("--workdir", metavar="DIR", help="Keep data/ and MODELS/ of this run below DIR.")
]
