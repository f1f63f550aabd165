"""What a check says about one column."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

Check = Literal["truncation", "future noise", "online", "shuffled labels", "overlap", "prefix stability", "files"]
CHECKS: tuple[Check, ...] = get_args(Check)
Kind = Literal["bars", "feature", "label", "prediction", "signal", "fold", "threshold", "trade"]
_PLURALS = {"bars": "bar columns"}


@dataclass(frozen=True)
class Finding:
    """One column under one check.

    column: its name; of a fold, `{label} fold {number}`. symbols: it was compared for. rows: compared.
    differing: rows that do not agree. bits: that differ in them. note: where first, or why it failed.
    passed: whether the column may be trusted as far as this check sees.
    """

    check: Check
    kind: Kind
    column: str
    symbols: tuple[str, ...]
    rows: int
    differing: int
    bits: int = 0
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.differing == 0


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """One finding for each check and column: rows and bits of all symbols and cuts together, the first note kept."""
    result: dict[tuple[str, str, str], Finding] = {}
    for one in findings:
        key = (one.check, one.kind, one.column)
        before = result.get(key)
        if before is None:
            result[key] = one
            continue
        result[key] = replace(
            before,
            symbols=tuple(dict.fromkeys((*before.symbols, *one.symbols))),
            rows=before.rows + one.rows,
            differing=before.differing + one.differing,
            bits=before.bits + one.bits,
            note=before.note or one.note,
        )
    return sorted(result.values(), key=lambda one: CHECKS.index(one.check))


def table(findings: Sequence[Finding]) -> str:
    """A readable table: failures column by column, and what passed in a line for each check and kind.

    findings: `merged` ones.
    """
    rows = [("check", "columns", "rows", "differing", "result", "")]
    for check in CHECKS:
        own = [one for one in findings if one.check == check]
        for kind in dict.fromkeys(one.kind for one in own):
            good = [one for one in own if one.kind == kind and one.passed]
            if good:
                count = good[0].column if len(good) == 1 else f"{len(good)} {_PLURALS.get(kind, kind + 's')}"
                note = good[0].note if len(good) == 1 else ""
                rows.append((check, count, f"{sum(one.rows for one in good):,}", "0", "pass", note))
            for one in own:
                if one.kind == kind and not one.passed:
                    rows.append((check, one.column, f"{one.rows:,}", f"{one.differing:,}", "FAIL", one.note))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return "\n".join("  ".join([*map(_padded, range(5), row, widths), row[5]]).rstrip() for row in rows)


def _padded(place: int, cell: str, width: int) -> str:
    # Numbers to the right.
    return cell.rjust(width) if place in (2, 3) else cell.ljust(width)
