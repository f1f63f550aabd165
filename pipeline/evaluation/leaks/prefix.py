"""Check 6: with more data at the end, what was predicted, signalled and traded before does not change in a bit."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.evaluation.leaks.comparing import Question, bits_changed, compare, finding
from pipeline.evaluation.leaks.findings import Finding, Kind
from pipeline.market import candles


def columns(kept: pa.Table, shorter: pa.Table, kind: Kind, names: Sequence[str], symbol: str) -> list[Finding]:
    """Columns of a table made without the last data against the table that has them.

    Rows that the shorter one has beyond the longer one, or before it, count as differing.
    """
    return compare(Question("prefix stability", kind, symbol), kept, shorter, names)


def trades(kept: pa.Table, other: pa.Table, until_ms: int) -> Finding:
    """Trades that were closed before a time, of two runs that differ in what comes after it."""
    early = [_closed(table, until_ms) for table in (kept, other)]
    if early[0].num_rows != early[1].num_rows:
        apart = abs(early[0].num_rows - early[1].num_rows)
        counts = f"{early[0].num_rows}, and {early[1].num_rows} with other bars after it"
        note = f"trades closed by {candles.iso(until_ms)}: {counts}"
        return Finding("prefix stability", "trade", "trades", (), max(t.num_rows for t in early), apart, 0, note)
    changed = np.zeros(early[0].num_rows, np.int64)
    for name in early[0].schema.names:
        changed += bits_changed(early[0].column(name), early[1].column(name))
    times = early[0].column("entry_time").cast(pa.int64()).to_numpy()
    return finding(Question("prefix stability", "trade", "all"), "trades", times, changed)


def choices(kept: pa.Table | None, other: pa.Table | None, used: Sequence[tuple[str, float, float]]) -> list[Finding]:
    """Thresholds that were chosen, and the figures they were chosen by, of two runs that differ only in the part on
    which nothing may be chosen.

    kept, other: grids of parameter sets, None without a search. used: name and value of each threshold in both runs.
    """
    findings = []
    for name, before, after in used:
        apart = int(not (before == after or (np.isnan(before) and np.isnan(after))))
        note = f"{before:.4g} was chosen, and {after:.4g} with another evaluation part" if apart else ""
        findings.append(Finding("prefix stability", "threshold", name, (), 1, apart, 0, note))
    if kept is None or other is None:
        return findings
    for name in kept.schema.names:
        if name.startswith("evaluation_"):
            continue
        changed = (
            bits_changed(kept.column(name), other.column(name))
            if name in other.schema.names and kept.num_rows == other.num_rows
            else np.ones(kept.num_rows, np.int64)
        )
        apart = int(np.count_nonzero(changed))
        note = "differs with another evaluation part" if apart else ""
        findings.append(
            Finding("prefix stability", "threshold", f"grid {name}", (), kept.num_rows, apart, int(changed.sum()), note)
        )
    return findings


def _closed(table: pa.Table, until_ms: int) -> pa.Table:
    ends: npt.NDArray[np.int64] = table.column("exit_time").cast(pa.int64()).to_numpy()
    return table.filter(pa.array(ends < until_ms)).sort_by([("entry_time", "ascending"), ("symbol", "ascending")])
