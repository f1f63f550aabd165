"""What the stages write into the trial ledger."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.artifacts import Layout, sha256_file, sha256_json
from pipeline.config import Config
from pipeline.evaluation.trials import Trial, TrialLedger

SIMULATED = ("simulate", "grid", "search", "holdout")
FITTED = ("fit", "fold")


def ledger(layout: Layout) -> TrialLedger:
    """The ledger in which a config's trials are counted."""
    return TrialLedger(layout.ledger)


def record(
    config: Config,
    layout: Layout,
    kind: str,
    sections: Iterable[str],
    inputs: Iterable[Path],
    tried: Iterable[tuple[Mapping[str, Any], int, str, float | None]],
    time: str,
    sharpes: Sequence[float] | None = None,
    effective: float | None = None,
) -> TrialLedger:
    """Append trials: what was tried, how many sets it stands for, the metric and its value.

    sections: of the config, that the result depends on. inputs: files, likewise. time: the end of the data. sharpes,
    effective: see `Trial`; of each of these lines.
    """
    resolved = config.model_dump(mode="json", exclude_none=True)
    hashes = sha256_json({key: resolved[key] for key in sections})
    data = hashlib.sha256("".join(sha256_file(path) for path in inputs).encode()).hexdigest()
    book = ledger(layout)
    code = _code()
    book.append(
        Trial(kind, hashes, data, code, config.seed, dict(what), sets, metric, _finite(value), time, sharpes, effective)
        for what, sets, metric, value in tried
    )
    return book


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _code() -> str:
    import pipeline

    return pipeline.__version__
