"""`pipeline journal`: what the live journal holds, whether it is whole, and a copy for other programs."""

import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import BadInput, CheckFailed
from pipeline.live import journal_export
from pipeline.live.journal import JournalReader, open_reader
from pipeline.live.journal_chain import JournalDamaged, Row
from pipeline.stages.reporting import print_json
from pipeline.stages.runner import Options


def run(action: str, options: Options, store: str | None, file: Path | None, last: int, salvage: bool) -> None:
    """One of show, verify, export, restore. store: instead of the config's file, a path or `postgresql://…`.

    file: what is exported to, or restored from. last: how many records to show. salvage: export what comes before
    the damage. Raises CheckFailed: the journal does not verify.
    """
    config, layout = options.load()
    target: str | Path = store or layout.journal
    if action == "restore":
        _restore(options, target, file)
        return
    reader = open_reader(target, config.name)
    try:
        if action == "show":
            _show(options, reader, last)
        elif action == "verify":
            _verify(options, reader)
        else:
            _export(options, reader, file or layout.journal.with_suffix(".parquet"), salvage)
    finally:
        reader.close()


def _show(options: Options, reader: JournalReader, last: int) -> None:
    latest = deque(reader.read(), maxlen=last)
    count = latest[-1][0] if latest else 0
    if options.json:
        shown = [{"number": number, "kind": kind, "body": body} for number, kind, body in latest]
        print_json({"records": count, "latest": shown})
        return
    for number, kind, body in latest:
        what = "  ".join(f"{key}={value}" for key, value in body.items() if value is not None)
        print(f"{number:>8}  {kind:<12} {what}")
    print(f"{count:,} records; `pipeline journal verify` checks them")


def _verify(options: Options, reader: JournalReader) -> None:
    try:
        count = reader.verify()
    except JournalDamaged as error:
        raise CheckFailed(error.message, error.hint) from None
    if options.json:
        print_json({"records": count, "whole": True})
    else:
        print(f"{count:,} records, all as they were written")


def _export(options: Options, reader: JournalReader, path: Path, salvage: bool) -> None:
    damage = ""
    try:
        reader.verify()
    except JournalDamaged as error:
        if not salvage:
            raise CheckFailed(error.message, "--salvage exports the records before the damage") from None
        damage = error.message
    count = journal_export.write(path, _whole(reader) if damage else reader.rows())
    if options.json:
        print_json({"records": count, "output": str(path), "damage": damage})
        return
    if damage:
        print(f"warning: {damage}; what may be missing, the exchange has to tell", file=sys.stderr)
    print(f"wrote {path}: {count:,} records")


def _whole(reader: JournalReader) -> Iterator[Row]:
    # The records up to the first bad one.
    try:
        yield from reader.rows()
    except BadInput:
        return


def _restore(options: Options, target: str | Path, export: Path | None) -> None:
    if export is None:
        raise BadInput("restore: say from which export", "--file data/NAME/serve/journal.parquet")
    if str(target).startswith(("postgresql://", "postgres://")):
        raise BadInput("restore: makes a file only", "bring a database back with pg_restore")
    count = journal_export.restore(export, Path(target))
    if options.json:
        print_json({"records": count, "output": str(target)})
    else:
        print(f"wrote {target}: {count:,} records from {export}")
