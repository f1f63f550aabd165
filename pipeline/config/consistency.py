"""What holds between the keys of a config; each key by itself is pydantic's business."""

import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from pipeline.config.durations import Length, bars_in, interval_ms
from pipeline.config.model import Config
from pipeline.config.section import utc_ms
from pipeline.config.trading_consistency import trading_problems

# Hours that a clock is ahead, not bars; and waiting times, which are rounded up to whole bars.
NOT_IN_BARS = (
    "download.file.utc_offset",
    "sizing.span",
    "risk.gates.cool_down",
    "risk.breakers.cool_down",
    "risk.breakers.max_data_age",
    "risk.breakers.model_expires",
)
# Lengths for which no bars at all makes no sense.
AT_LEAST_ONE = ("horizon", "horizons", "train_length", "prediction_size", "half_life")


def problems(config: Config) -> Iterator[str]:
    """Each contradiction as `key: what is wrong`, in the order of the file."""
    yield from _download(config)
    yield from _timeframes(config)
    yield from _lengths(config)
    yield from _dates(config)
    yield from trading_problems(config)
    names = [algorithm.name for algorithm in config.train.algorithms]
    for number, name in enumerate(names):
        if name in names[:number]:
            yield f"train.algorithms[{number}].name: '{name}' is taken; each algorithm needs its own"


def _download(config: Config) -> Iterator[str]:
    download = config.download
    if download.source in ("csv", "parquet"):
        if download.file is None:
            example = f"{{path: bars/{{symbol}}.{download.source}}}"
            yield f"download.file: source {download.source} needs it; write file: {example}"
        elif len(config.symbols) > 1 and "{symbol}" not in download.file.path:
            yield f"download.file.path: {len(config.symbols)} symbols would read one file; put {{symbol}} into the path"
        if download.funding and download.funding_file is None:
            yield "download.funding_file: download.funding needs it where the bars are files of your own"
    if download.funding and download.market != "um":
        yield "download.funding: spot has no funding rates; set download.market: um"
    if download.mark_price and download.market != "um":
        yield "download.mark_price: spot has no mark price; set download.market: um"
    if download.source == "synthetic" and download.synthetic.exchange:
        if download.market != "spot":
            yield "download.synthetic.exchange: the local exchange's archive has spot bars; set download.market: spot"
        for number, interval in enumerate(download.also_intervals):
            if interval_ms(interval) % config.step_ms:
                yield f"download.also_intervals[{number}]: '{interval}' cannot be made of bars of {config.interval}"
    if config.merge.funding and not download.funding:
        yield "merge.funding: set download.funding as well, or there is nothing to merge"


def _timeframes(config: Config) -> Iterator[str]:
    asked = [(f"merge.timeframes[{n}]", t) for n, t in enumerate(config.merge.timeframes)]
    for number, entry in enumerate(config.features):
        timeframe = getattr(entry.spec, "timeframe", None)
        if timeframe:
            asked.append((f"features[{number}].{entry.kind}.timeframe", timeframe))
    for key, timeframe in asked:
        if interval_ms(timeframe) <= config.step_ms or interval_ms(timeframe) % config.step_ms:
            yield f"{key}: '{timeframe}' is not a multiple of the interval {config.interval}"


def _lengths(config: Config) -> Iterator[str]:
    for key, length in _find_lengths(config, ""):
        if key in NOT_IN_BARS:
            continue
        try:
            bars = bars_in(length, config.interval)
        except ValueError as error:
            yield f"{key}: {error}"
            continue
        if bars == 0 and key.rpartition(".")[2].partition("[")[0] in AT_LEAST_ONE:
            yield f"{key}: must be at least one bar"


def _dates(config: Config) -> Iterator[str]:
    for name in ("download", "merge", "train", "predict", "predict_rolling", "cross_validation", "simulate"):
        section = getattr(config, name)
        if section.start and section.end and utc_ms(section.start) >= utc_ms(section.end):
            yield f"{name}.end: {section.end} is not after {name}.start, {section.start}"


def _find_lengths(model: BaseModel, prefix: str) -> Iterator[tuple[str, int | str]]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        is_length = _mentions_length(field.annotation) or any(m in LENGTH_MARKS for m in field.metadata)
        for key, item in _items(f"{prefix}{name}", value):
            if isinstance(item, BaseModel):
                yield from _find_lengths(item, f"{key}.")
            elif is_length and item is not None:
                yield key, item


def _items(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list):
        yield from ((f"{key}[{number}]", item) for number, item in enumerate(value))
    else:
        yield key, value


LENGTH_MARKS = typing.get_args(Length)[1:]


def _mentions_length(annotation: Any) -> bool:
    return annotation is Length or any(
        _mentions_length(part) for part in typing.get_args(annotation) if part is not Any
    )
