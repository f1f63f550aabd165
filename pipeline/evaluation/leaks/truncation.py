"""Check 1: computed on the data up to t, the value at t has the bits of the value computed on all data.

Whole prefixes are computed again at a few cuts, which compares every row before each of them. Values that provably
depend on a window alone (the family hands each of them exactly its window) are computed again at many more cuts, from
nothing but that window.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import Config
from pipeline.evaluation.leaks.comparing import Question, bits_changed, finding
from pipeline.evaluation.leaks.findings import Check, Finding
from pipeline.market import candles

Ints = npt.NDArray[np.int64]


def cut_rows(filled: npt.NDArray[np.bool_], first: int, count: int, seed: int, around: Ints | None = None) -> list[int]:
    """Rows of bars to cut after, ascending: drawn at random, and a share where leaks like to show.

    filled: made-up bars [n]; a third of the cuts falls into gaps or just before them, where a value that is filled in
    from behind would need the next real bar. around: further rows of interest, a third likewise. first: the least row.
    """
    rng = np.random.default_rng(seed)
    n = len(filled)
    if n <= first:
        return []
    gaps = np.flatnonzero(filled)
    edges = np.unique(np.concatenate([gaps, gaps - 1, gaps[:0]]))
    special = [edges[(edges >= first) & (edges < n)]]
    if around is not None:
        special.append(around[(around >= first) & (around < n)])
    chosen: set[int] = set()
    for rows in special:
        if len(rows):
            chosen |= set(rng.choice(rows, min(len(rows), max(count // 3, 1)), replace=False).tolist())
    missing = min(count, n - first)
    while len(chosen) < missing:
        chosen.add(int(rng.integers(first, n)))
    return sorted(chosen)


def settled_labels(kept: pa.Table, again: pa.Table, names: Sequence[str], symbol: str, check: Check) -> list[Finding]:
    """Labels of a truncated or disturbed table against the whole: nothing that was decided by its end may change.

    kept: labels of all bars. again: of bars up to the cut, which is its last row. A label that was decided by then,
    `{label}_end` at or before the cut, has the same value and the same end in both; one that is known in `again` with
    such an end is so in `kept`. What is decided later may differ.
    """
    times = candles.times_ms(again)
    cut = int(times[-1])
    rows = np.searchsorted(candles.times_ms(kept), times)
    if rows[-1] >= kept.num_rows or not np.array_equal(candles.times_ms(kept)[rows], times):
        return [Finding(check, "label", name, (symbol,), len(times), len(times), 0, "has other bars") for name in names]
    findings = []
    whole = kept.slice(int(rows[0]), len(times))
    for name in names:
        if name not in kept.schema.names or name not in again.schema.names:
            where = "the file" if name not in kept.schema.names else "what the config makes"
            note = f"is not in {where}"
            findings.append(Finding(check, "label", name, (symbol,), len(times), len(times), 0, note))
            continue
        ends = [_ends(part, name) for part in (whole, again)]
        settled = (ends[0] <= cut) | (ends[1] <= cut)
        changed = bits_changed(whole.column(name), again.column(name))
        changed += bits_changed(whole.column(f"{name}_end"), again.column(f"{name}_end"))
        # An outcome that was known before its own bar, or never, is no label.
        early = (ends[0] < times) | (ends[1] < times)
        changed[early] = np.maximum(changed[early], 1)
        changed = np.where(settled | early, changed, 0)
        found = finding(Question(check, "label", symbol), name, times[settled], changed[settled])
        findings.append(found)
    return findings


def _ends(table: pa.Table, name: str) -> Ints:
    # Unknown labels end never.
    ends = table.column(f"{name}_end").cast(pa.int64())
    known = pc.is_valid(table.column(name)).to_numpy()
    return np.where(known, pc.fill_null(ends, 0).to_numpy(), np.iinfo(np.int64).max)


# Families that hand each value exactly the bars of its window, of base bars; TA-Lib's functions carry sums along.
_WINDOWED = {
    "stats", "returns", "time", "volatility", "volume_profile", "ichimoku", "taker_flow", "cross_symbol", "rank",
    "itblib", "custom",
}  # fmt: skip


def windowed(config: Config) -> Config | None:
    """The config with those features alone whose values provably depend on their window; None if there are none."""
    entries = [e for e in config.features if e.kind in _WINDOWED and not getattr(e.spec, "timeframe", None)]
    return config.model_copy(update={"features": entries}) if entries else None
