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
import io
import pyarrow.parquet as pq
pq.write_table(pa.table({"close": np.random.default_rng(0).random(100_000)}), kept := io.BytesIO())
read = pq.ParquetFile(kept).read(use_threads=False)
settle()
large = {"pandas", "polars", "sklearn", "matplotlib"}
try:
    others = pa.mimalloc_memory_pool().max_memory()
except NotImplementedError:
    others = 0
print(sorted(large & set(sys.modules)), pa.default_memory_pool().backend_name, others)
"""
LEARNING = """
import sys
from pipeline.lean import arrow_alone
arrow_alone()
import numpy as np
import pyarrow as pa
from pipeline.compiled import compiled
from pipeline.models.lightgbm import BinnedRows, predict
twice = compiled(cache=False)(lambda number: 2 * number)
x = pa.array(np.arange(100.0)).to_numpy().astype(np.float32).reshape(50, 2)
y, rows = (x[:, 0] > 50).astype(float), np.arange(50)
settings = {"classification": True, "rounds": twice(1), "params": {}, "seed": 0, "weights": y + 1}
model = BinnedRows(x, ["a", "b"], {}).fit(rows, y, **settings)
assert len(predict(model, x)) == 50
large = {"pandas", "polars", "sklearn", "matplotlib", "scipy", "narwhals", "cffi"}
print(sorted(large & set(sys.modules)))
import scipy.sparse, narwhals
print(scipy.sparse.csr_matrix((2, 3)).shape, narwhals.dependencies.is_into_dataframe(pa.table({"a": [1]})))
print(len(pa.table({"a": [1, 2]}).to_pandas()))
"""
SERVING = """
import sys
from pipeline.lean import keep_small
keep_small()
import pipeline.cli_live, pipeline.exchange.binance.adapter, pipeline.models.bundle, pipeline.stages.runner
from pipeline.live import (
    commands, compiled_functions, control, desk, driver, following, journal, kill_switch, ledgers, logs, loop, minds,
    preflight, shadow, trader, trading,
)
from pipeline.models.drift import monitor
from pipeline.stages import serve_bars, serve_live, serve_minds, serve_models, serve_place, serve_session, standing
compiled_functions.entries()
large = {"pandas", "polars", "sklearn", "matplotlib", "scipy", "narwhals", "numba", "llvmlite", "lightgbm", "rich",
         "dateparser", "Crypto", "sqlalchemy", "psycopg", "apprise", "optuna", "dvc"}
print(sorted(large & set(sys.modules)))
"""
LATE = """
import sys
from pipeline.lean import put_off
with put_off("wave", "json", "xml", "xml.sax", "xml.sax.saxutils"):
    import json, wave
    from xml.sax import saxutils
print(sorted({"wave", "xml", "xml.sax", "xml.sax.saxutils"} & set(sys.modules)))
print(saxutils.escape("<"), wave.open.__name__, "wave" in sys.modules, wave is sys.modules["wave"])
with put_off("wave"):
    import wave
print(wave is sys.modules["wave"])
"""
ELSEWHERE = """
import threading
from pipeline.lean import without
found = []
def look():
    import wave
    found.append(wave.__name__)
with without("wave"):
    other = threading.Thread(target=look)
    other.start()
    other.join()
with without("colorsys"):
    try:
        import colorsys
    except ImportError:
        found.append("absent")
import colorsys
print(found, colorsys.__name__)
"""
LATER = """
import sys, pandas
from pipeline.lean import keep_small
keep_small()
import pyarrow as pa
print(len(pa.table({"a": [1, 2]}).to_pandas()))
"""

THRESHOLD = """
import gc
from pipeline.lean import collect_seldom, settle
before = gc.get_threshold()
collect_seldom()
print(gc.get_threshold()[0] > 10 * before[0])
settle()
print(gc.get_threshold() == before)
"""


def out_of(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.strip()


def test_serving_imports_none_of_the_large_libraries() -> None:
    assert out_of(SMALL) == "[] system 0"


def test_who_uses_pandas_already_keeps_it() -> None:
    assert out_of(LATER) == "2"


def test_learning_and_compiling_import_none_of_them_and_leave_them_to_others() -> None:
    assert out_of(LEARNING).splitlines() == ["[]", "(2, 3) True", "2"]


def test_a_module_is_absent_in_one_thread_only() -> None:
    assert out_of(ELSEWHERE) == "['wave', 'absent'] colorsys"


def test_serving_imports_what_it_needs() -> None:
    assert out_of(SERVING) == "[]"


def test_what_is_put_off_is_imported_when_it_is_used() -> None:
    assert out_of(LATE).split("\n") == ["[]", "&lt; open True False", "True"]


def test_a_server_collects_as_often_as_ever_once_it_has_started() -> None:
    assert out_of(THRESHOLD).split() == ["True", "True"]
