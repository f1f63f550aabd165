"""The config file: its sections, loading and validation."""

from pipeline.config.durations import INTERVALS, bars_in, bars_per_year, duration_ms, interval_ms
from pipeline.config.loading import load_config
from pipeline.config.model import Config
from pipeline.config.section import utc_ms

__all__ = ["INTERVALS", "Config", "bars_in", "bars_per_year", "duration_ms", "interval_ms", "load_config", "utc_ms"]
