"""Check 3: streamed bar by bar, also across a restart, every number has the bits of the batch result."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.config import Config
from pipeline.evaluation.leaks.comparing import Question, bits_changed, finding
from pipeline.evaluation.leaks.findings import Finding
from pipeline.features import FeatureStream, required_columns
from pipeline.market import candles
from pipeline.signals import SignalStream, check_columns

# From a contiguous feature row [k] to its score.
Scorer = Callable[[npt.NDArray[np.float32]], float]


def features(
    config: Config, bars: pa.Table, kept: pa.Table, spans: Sequence[tuple[int, int]], symbol: str
) -> list[Finding]:
    """Features streamed over each span of rows [start, stop), opened on the bars before it, against those kept.

    bars: merged, of all rows. kept: the features of the same rows. Each span's start is a restart.
    """
    columns = {name: candles.column(bars, name) for name in required_columns(config)}
    times = candles.times_ms(bars)
    values: list[npt.NDArray[np.float32]] = []
    rows: list[int] = []
    names: list[str] = []
    for start, stop in spans:
        stream = FeatureStream(config, bars.slice(0, start))
        names = stream.names
        for row in range(start, stop):
            bar = {name: float(column[row]) for name, column in columns.items()}
            values.append(stream.update(bar, int(times[row])))
            rows.append(row)
    made = np.array(values, np.float32)
    question = Question("online", "feature", symbol)
    place = np.array(rows)
    return [
        _against(question, name, times[place], made[:, j], kept.column(name).to_numpy()[place])
        if name in kept.schema.names
        else Finding("online", "feature", name, (symbol,), len(place), len(place), 0, "is not in the file")
        for j, name in enumerate(names)
    ]


def scores(
    scorers: Mapping[str, Scorer], features: pa.Table, kept: pa.Table, names: Sequence[str], symbol: str
) -> list[Finding]:
    """Scores of one row after another against the predictions kept.

    scorers: by prediction. features: rows to score, with open_time. kept: predictions. names: feature columns, in the
    order of the models. Rows that have a feature which is not finite are not scored by either.
    """
    rows = np.column_stack([_float32(features, name) for name in names])
    rows = np.ascontiguousarray(rows)
    times = candles.times_ms(features)
    place = np.searchsorted(candles.times_ms(kept), times)
    known = np.asarray(np.isfinite(rows).all(axis=1))
    findings = []
    for name, scorer in scorers.items():
        made = np.array([scorer(row) if ok else np.nan for row, ok in zip(rows, known, strict=True)])
        stored = candles.column(kept, name)[place]
        findings.append(_against(Question("online", "prediction", symbol), name, times, made, stored))
    return findings


def signals(config: Config, predictions: pa.Table, filled: npt.NDArray[np.bool_], kept: pa.Table, restart: int,
            symbol: str) -> list[Finding]:  # fmt: skip
    """Signals streamed over all rows of `kept`, with a new stream that replays what came before at row `restart`.

    predictions: what the steps read, on the rows of `kept`. filled: made-up bars [n].
    """
    reads = check_columns(config.signals, [n for n in predictions.schema.names if n != "open_time"], "the predictions")
    given = {name: candles.column(predictions, name) for name in reads}
    rows = len(filled)
    stream, made = SignalStream(config.signals), []
    for row in range(rows):
        if row == restart:
            stream = SignalStream(config.signals)
            for before in range(row):
                stream.update({name: float(column[before]) for name, column in given.items()}, bool(filled[before]))
        made.append(stream.update({name: float(column[row]) for name, column in given.items()}, bool(filled[row])))
    times = candles.times_ms(kept)
    findings = []
    for name in made[0] if made else []:
        stored = kept.column(name).to_numpy() if name in kept.schema.names else None
        if stored is None:
            findings.append(Finding("online", "signal", name, (symbol,), rows, rows, 0, "is not in the file"))
            continue
        found = np.array([one[name] for one in made], stored.dtype)
        findings.append(_against(Question("online", "signal", symbol), name, times, found, stored))
    return findings


def _float32(table: pa.Table, name: str) -> npt.NDArray[np.float32]:
    """A feature column [n] as the models get it."""
    return candles.column(table, name).astype(np.float32)


def _against(
    question: Question, name: str, times: npt.NDArray[np.int64], made: npt.NDArray, stored: npt.NDArray
) -> Finding:
    changed = bits_changed(pa.chunked_array([pa.array(made)]), pa.chunked_array([pa.array(stored)]))
    return finding(question, name, times, changed)
