"""The leak detector's look at the files that custom features read."""

from collections.abc import Iterator

import numpy as np

from pipeline.config.features import CustomFeatures
from pipeline.evaluation.leaks.findings import Finding
from pipeline.evaluation.leaks.outside_files import Seen, opened_by
from pipeline.market import candles
from pipeline.stages.verify_kept import Kept
from pipeline.stages.worlds import fresh_custom_modules

# Windows that a function is called with; one that reads now and then does so in some of them.
_CALLS = 50


def check_files(kept: Kept) -> Iterator[Finding]:
    """Each custom feature is loaded anew and called, and has to get by with its window.

    Raises BadInput: the function fails.
    """
    for entry in kept.config.features:
        if entry.custom is None:
            continue
        seen = _seen(kept, entry.custom)
        notes = [f"reads {', '.join(seen.files[:3])}"] if seen.files else []
        notes += [f"reads {seen.unseen_bytes:,} bytes of files"] if seen.unseen_bytes and not notes else []
        wrong = _CALLS if notes else 0
        prefix = "_".join(part for part in (entry.custom.timeframe, entry.custom.prefix) if part)
        for name in entry.custom.names:
            column = f"{prefix}_{name}" if prefix else name
            yield Finding("files", "feature", column, tuple(kept.config.symbols), _CALLS, wrong, 0, "; ".join(notes))


def _seen(kept: Kept, spec: CustomFeatures) -> Seen:
    from pipeline.features.family import FAMILIES

    bars = kept.bars(kept.config.symbols[0])
    columns = {name: candles.column(bars, name) for name in spec.inputs}
    times = candles.times_ms(bars)
    rows = np.linspace(spec.lookback, len(times), _CALLS).astype(int)

    def load_and_call() -> None:
        with fresh_custom_modules(kept.config):
            for block in FAMILIES["custom"](spec):
                for row in rows:
                    part = slice(row - spec.lookback, row)
                    block.batch({name: values[part] for name, values in columns.items()}, times[part])

    return opened_by(load_and_call)
