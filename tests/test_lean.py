"""A process that runs for months stays small."""

import subprocess
import sys

SMALL = """
import sys
from pipeline.lean import keep_small, settle
keep_small()
import pyarrow as pa
import pipeline.live.strategy
from pipeline.features import FeatureStream, compute
from pipeline.config.model import Config
from pipeline.market.candles import time_array, times_ms
import numpy as np
table = pa.table({"open_time": time_array(np.arange(50) * 60_000), "close": np.arange(50.0) + 1})
features = [{"talib": {"functions": ["SMA"], "inputs": ["close"], "periods": [5]}}]
config = Config.model_validate({"interval": "1m", "features": features})
FeatureStream(config, table.slice(0, 49)).update({"close": 50.0}, int(times_ms(table)[49]))
settle()
large = {"pandas", "polars", "sklearn", "matplotlib"}
print(sorted(large & set(sys.modules)), pa.default_memory_pool().backend_name)
"""
LATER = """
import sys, pandas
from pipeline.lean import keep_small
keep_small()
import pyarrow as pa
print(len(pa.table({"a": [1, 2]}).to_pandas()))
"""


def out_of(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.strip()


def test_serving_imports_none_of_the_large_libraries() -> None:
    assert out_of(SMALL) == "[] system"


def test_who_uses_pandas_already_keeps_it() -> None:
    assert out_of(LATER) == "2"
