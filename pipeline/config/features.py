"""Section `features`: declared once, computed over a table and bar by bar."""

from typing import Any, Literal

from pydantic import Field

from pipeline.config.durations import Interval
from pipeline.config.section import OneOf, Section


class FeatureSet(Section):
    """Options that every kind of feature has."""

    timeframe: Interval | None = Field(None, description="Compute on these longer bars, each used once it has closed.")
    prefix: str = Field("", description="Put before each name, with an underscore.")


class TalibFeatures(FeatureSet):
    """Functions of TA-Lib by name, over columns and periods."""

    functions: list[str] = Field(min_length=1)
    inputs: list[str] = Field([], description="Columns; by default those the function names itself (close, high …).")
    periods: list[int] = Field([], description="timeperiod; one column for each.")
    parameters: dict[str, Any] = Field({}, description="Other parameters: {fastperiod: 12, nbdevup: 2.5}.")
    relative: Literal["rel", "diff", "rel_diff"] | None = Field(None, description="Against another period.")
    relative_base: Literal["next", "last", "prev", "first"] = "next"
    percent: bool = False
    log: bool = False


class StatsFeatures(FeatureSet):
    """Rolling statistics: mean, std, skew, kurtosis, lsbm, fmax, area, slope."""

    functions: list[str] = Field(min_length=1)
    inputs: list[str] = ["close"]
    windows: list[int] = Field(min_length=1)
    bias: bool = Field(True, description="Skew and kurtosis as population moments; false: sample-corrected.")


class CustomFeatures(FeatureSet):
    """A function of your own, given the last `lookback` bars."""

    function: str = Field(description="'package.module:function' or 'path/to/file.py:function'.")
    inputs: list[str] = ["close"]
    lookback: int = Field(gt=0, description="Bars that the value depends on; it sees no more.")
    names: list[str] = Field(min_length=1)
    parameters: dict[str, Any] = {}


class FeatureEntry(OneOf):
    """One entry of `features`."""

    talib: TalibFeatures | None = None
    stats: StatsFeatures | None = None
    custom: CustomFeatures | None = None
