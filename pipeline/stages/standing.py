"""Which bundle has which stage, and the one way in which `current` comes to name another."""

import datetime as dt
import getpass
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.artifacts import Layout, write_text
from pipeline.errors import BadInput
from pipeline.evaluation.promotions import AS_OF, Entry, Promotions, Standing, standing

_PATIENCE_S = 30.0


def now() -> dt.datetime:
    """The clock by which bundles grow old and promotions are dated."""
    return dt.datetime.now(dt.UTC)


def ledger_path(layout: Layout) -> Path:
    """Beside the bundles, and not among DVC's outputs."""
    return layout.models / layout.name / "promotions.jsonl"


def promotions(layout: Layout) -> Promotions:
    """The config's ledger."""
    return Promotions(ledger_path(layout))


def named(layout: Layout) -> str | None:
    """What `current` names; None before the first bundle."""
    try:
        return layout.current.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def unexplained(layout: Layout, known: Standing) -> str | None:
    """Why the ledger does not explain `current`; None if it does."""
    found = named(layout)
    if found == known.current:
        return None
    return f"current names {found or 'nothing'}, and the last entry of the ledger {known.current or 'nothing'}"


def enter(
    layout: Layout,
    action: str,
    bundle: str,
    stage: str,
    takes_over: bool,
    until: str,
    evidence: Mapping[str, str],
    checks: Sequence[Mapping[str, Any]] = (),
) -> Entry:
    """Write an entry, then let `current` name the bundle if it takes over.

    The ledger comes first: if the power goes between the two, `current` still names what it did, and it shows.
    Raises BadInput: the ledger is damaged.
    """
    book = promotions(layout)
    lock = FileLock(f"{ledger_path(layout)}.switch.lock", timeout=_PATIENCE_S)
    ledger_path(layout).parent.mkdir(parents=True, exist_ok=True)
    try:
        with lock:
            entries = [entry for entry in book.read() if entry.action != AS_OF]
            # A name that was written by hand is not made good by an entry of something else.
            previous = standing(entries).current if entries else named(layout)
            current = bundle if takes_over else previous
            at = now().isoformat(timespec="seconds")
            entry = Entry(action, bundle, stage, current, previous, at, until, _who(), dict(evidence), list(checks))
            book.append(entry)
            if takes_over and named(layout) != bundle:
                write_text(layout.current, f"{current}\n")
            return entry
    except Timeout:
        raise BadInput(f"{lock.lock_file}: held by another process for {_PATIENCE_S:g} s", "try again") from None


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"  # a container may run as a user without a name
