"""`pipeline serve`: checks what it needs, and trades until it is stopped."""

import asyncio
import contextlib
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import Layout, count_rows, exclusive, read_table
from pipeline.config import Config
from pipeline.errors import BadInput, Failure, PipelineError
from pipeline.market.candles import times_ms
from pipeline.stages.reporting import Plan, Summary, print_json
from pipeline.stages.runner import Options
from pipeline.stages.serve_models import UNTRAINED, bundle_folder
from pipeline.stages.serve_wish import Wish
from pipeline.stages.times import iso

if TYPE_CHECKING:
    from pipeline.live.journal import JournalReader
    from pipeline.live.telling import Tell


def serve(options: Options, wish: Wish) -> None:
    """Trade until stopped. Raises BadInput, CheckFailed: before anything is sent. ExchangeError: it is unreachable."""
    try:
        _serve(options, wish)
    except PipelineError as error:
        options.explain(error)
        raise


def _serve(options: Options, wish: Wish) -> None:
    config, layout = options.load()
    wish = replace(
        wish, options=options.spelled_out("`pipeline status`").strip("`").removeprefix("pipeline status").strip()
    )
    if config.serve.simulate_order_execution and wish.live:
        print("serve: simulate_order_execution keeps this in shadow", file=sys.stderr)
        wish = replace(wish, live=False)
    plan = plan_serve(config, layout, wish)
    if options.dry_run:
        print_json(plan.json()) if options.json else print(plan.text())
        return
    folder = wish.folder(layout)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(layout.run / "serve" / "serve.lock", f"`pipeline serve` of '{config.name}'"):
        if wish.rehearse and not wish.resume:
            for path in folder.iterdir():
                path.unlink()
        summary = asyncio.run(_run(config, layout, wish))
    if options.json:
        print_json(summary.json())
    else:
        print(summary.text(), flush=True)


def plan_serve(config: Config, layout: Layout, wish: Wish) -> Plan:
    """Check what serving needs of earlier stages. Raises BadInput, MissingInput: naming it and the stage to run."""
    from pipeline.models.bundle import read_manifest

    if config.simulate.direction != "long" or config.download.market != "spot":
        raise BadInput(
            "serve trades spot, and this config sells short or follows futures",
            "set simulate.direction: long and download.market: spot; `simulate` and `serve --replay` know futures",
        )
    if config.merge.funding:
        raise BadInput("merge.funding: serve follows spot, which has no funding rates", "leave it out")
    span = wish.span()
    inputs: list[Path] = []
    for symbol in config.symbols:
        path = layout.merged(symbol)
        count_rows(path, "merge")
        if span is not None:
            _require_bars(path, *span)
        inputs.append(path)
    notes = [f"mode: {wish.mode}", f"exchange: {'a rehearsal' if wish.rehearse else config.serve.exchange}"]
    if config.signals.predictions != UNTRAINED:
        folder, name = bundle_folder(layout)
        read_manifest(folder)
        inputs.append(folder)
        notes.append(f"bundle: {name}")
    folder, journal = wish.folder(layout), wish.journal(config, layout)
    outputs = [
        *([] if "://" in str(journal) else [Path(journal)]),
        folder / "decisions.parquet",
        folder / "trades.parquet",
    ]
    return Plan("serve", inputs, outputs, notes=notes)


def _require_bars(path: Path, begin: int, end: int) -> None:
    # Before the last rehearsal's files are removed. Earlier bars than the first are missed while getting ready.
    times = times_ms(read_table(path, "merge", ["open_time"]))
    if times[-1] < begin or times[0] >= end:
        raise BadInput(
            f"--rehearse: {path} has no bars from {iso(begin)} to {iso(end)}",
            f"it has those from {iso(times[0])} to {iso(times[-1])}; others come from `pipeline download` and `merge`",
        )


async def _run(config: Config, layout: Layout, wish: Wish) -> Summary:
    from pipeline.live import compiled_functions
    from pipeline.live.loop import Limits
    from pipeline.stages.serve_place import at_exchange
    from pipeline.stages.serve_session import Session

    installed = compiled_functions.install()
    async with at_exchange(config, layout, wish) as (place, exchange, clock, tell, redactor):
        if not installed:
            compiled_functions.make_later(tell)
        with _journal(config, layout, wish) as journal, ThreadPoolExecutor(1, "journal") as writer:
            session = Session(config, layout, wish, place, exchange, clock, tell, redactor, journal, writer)
            try:
                return await session.run(Limits(wish.bars, wish.once))
            except PipelineError:
                raise
            except Exception as error:
                raise _explained(error, wish.folder(layout) / "serve.log", tell) from None


def _explained(error: Exception, log: Path, tell: "Tell") -> PipelineError:
    """An error that was not foreseen, as a person is told of it; its traceback goes to the log."""
    from pipeline.live.telling import in_our_words

    known = in_our_words(error)
    if isinstance(known, PipelineError):
        return known
    tell("crash", exception="".join(traceback.format_exception(error)))
    return Failure(
        f"serve has failed: {type(error).__name__}: {error}",
        f"{log} has the details; orders and stops stay at the exchange, and a new start finds out what became of them",
    )


@contextlib.contextmanager
def _journal(config: Config, layout: Layout, wish: Wish) -> "Iterator[JournalReader]":
    from pipeline.live.journal import open_journal

    journal = open_journal(wish.journal(config, layout), config.name)
    try:
        yield journal
    finally:
        journal.close()
