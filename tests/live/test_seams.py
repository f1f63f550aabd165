"""What is decided depends on nothing but what comes through the seams, so that a simulation can be all there is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.live import seams

ROOT = Path(__file__).parents[2] / "pipeline"
# By dotted name, whatever it was imported as. A name that ends with a dot stands for all of a module.
CLOCK = ("time.", "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today")
SLEEP = ("asyncio.sleep", "time.sleep")
CHANCE = ("random.", "numpy.random.", "secrets.", "uuid.uuid1", "uuid.uuid4", "os.urandom", "os.getrandom")
NETWORK = (
    "socket.", "ssl.", "http.", "urllib.request.", "requests.", "aiohttp.", "websockets.", "httpx.", "select.",
    "asyncio.open_connection", "asyncio.start_server", "asyncio.open_unix_connection", "asyncio.start_unix_server",
)  # fmt: skip
DISK = (
    "open", "io.open", "os.open", "os.fdopen", "os.replace", "os.rename", "os.remove", "os.unlink",
    "os.mkdir", "os.makedirs", "os.fsync", "os.stat", "tempfile.", "shutil.", "sqlite3.", "psycopg.", "mmap.",
    "filelock.", "pyarrow.parquet.", "pipeline.artifacts.read_table", "pipeline.artifacts.write_table",
    "pipeline.artifacts.write_text", "pipeline.artifacts.write_json", "pipeline.artifacts.read_json",
    "pipeline.artifacts.atomic_file",
)  # fmt: skip
THREADS = ("threading.", "multiprocessing.", "subprocess.", "concurrent.", "asyncio.to_thread", "joblib.")
# Methods of paths and loops, whatever they are called on.
METHODS = (
    "read_text", "read_bytes", "write_text", "write_bytes", "unlink", "mkdir", "touch", "rmdir", "iterdir", "is_file",
    "exists", "run_in_executor", "call_later", "call_at",
)  # fmt: skip
# A type to annotate with, or to make with a seed, is no draw.
ALLOWED = ("random.Random",)
EVERYTHING = (*CLOCK, *SLEEP, *CHANCE, *NETWORK, *DISK, *THREADS)


def seam_modules() -> set[str]:
    """The modules that the docstring of `pipeline.live.seams` lists."""
    entries = re.findall(r"^- ((?:`\w+`(?:, )?)+):", seams.__doc__ or "", re.MULTILINE)
    return {name for entry in entries for name in re.findall(r"`(\w+)`", entry)}


def violations(source: str, forbidden: tuple[str, ...], methods: tuple[str, ...] = ()) -> Iterator[str]:
    """Lines of a module that refer to something forbidden, called or not: `12: time.monotonic`."""
    tree = ast.parse(source)
    names = dict(_imports(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            name = _dotted(node, names)
            if name and name not in ALLOWED and _is_in(name, forbidden):
                yield f"{node.lineno}: {name}"
        if isinstance(node, ast.Attribute) and node.attr in methods:
            yield f"{node.lineno}: .{node.attr}"
        if (
            isinstance(node, ast.Call)
            and CHANCE[0] in forbidden
            and not node.args
            and _dotted(node.func, names) in ALLOWED
        ):
            yield f"{node.lineno}: {_dotted(node.func, names)} without a seed"
        if isinstance(node, ast.Call) and methods and _opens_a_path(node, names):
            yield f"{node.lineno}: .open"


def _opens_a_path(node: ast.Call, names: dict[str, str]) -> bool:
    """`path.open()` or with a mode; books have a method of that name too, which takes a symbol."""
    if not isinstance(node.func, ast.Attribute) or node.func.attr != "open" or _dotted(node.func, names):
        return False
    modes = [one for one in node.args if isinstance(one, ast.Constant) and set(str(one.value)) <= set("rwaxbt+")]
    return not node.args or bool(modes) or any(one.arg in ("mode", "encoding") for one in node.keywords)


def _imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                # `import a.b` makes the name a; `import a.b as c` the name c of a.b.
                yield (one.asname, one.name) if one.asname else (one.name.split(".")[0], one.name.split(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for one in node.names:
                yield one.asname or one.name, f"{node.module}.{one.name}"


def _dotted(node: ast.AST, names: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        builtin = node.id == "open" and isinstance(node.ctx, ast.Load)
        return names.get(node.id, node.id if builtin else "")
    if isinstance(node, ast.Attribute):
        head = _dotted(node.value, names)
        return f"{head}.{node.attr}" if head else ""
    return ""


def _is_in(name: str, forbidden: tuple[str, ...]) -> bool:
    return any(name.startswith(one) if one.endswith(".") else name == one for one in forbidden)


LIVE = [path for path in sorted((ROOT / "live").glob("*.py")) if path.stem not in seam_modules()]


@pytest.mark.parametrize("path", [*LIVE, ROOT / "exchange/port.py"], ids=lambda path: path.name)
def test_time_chance_disk_and_network_come_through_the_seams(path):
    assert list(violations(path.read_text(encoding="utf-8"), EVERYTHING, METHODS)) == []


@pytest.mark.parametrize("path", sorted((ROOT / "trading").glob("*.py")), ids=lambda path: path.name)
def test_the_trading_core_knows_neither_time_nor_chance_nor_network(path):
    assert list(violations(path.read_text(encoding="utf-8"), (*CLOCK, *SLEEP, *CHANCE, *NETWORK))) == []


@pytest.mark.parametrize("path", sorted((ROOT / "exchange/binance").glob("*.py")), ids=lambda path: path.name)
def test_the_adapter_has_its_time_and_chance_from_outside(path):
    assert list(violations(path.read_text(encoding="utf-8"), (*CLOCK, *SLEEP, *CHANCE))) == []


def test_every_seam_that_is_listed_is_a_module():
    assert seam_modules() and all((ROOT / "live" / f"{name}.py").is_file() for name in seam_modules())


@pytest.mark.parametrize("name", sorted(seam_modules()))
def test_no_module_is_listed_that_needs_no_seam(name):
    source = (ROOT / "live" / f"{name}.py").read_text(encoding="utf-8")
    assert list(violations(source, EVERYTHING, METHODS))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time\nx = time.time()", "2: time.time"),
        ("import time as t\nx = t.monotonic", "2: time.monotonic"),
        ("from time import perf_counter as p\nx = p()", "2: time.perf_counter"),
        ("def f():\n    import time\n    return time.time_ns()", "3: time.time_ns"),
        ("from datetime import datetime\nx = datetime.now()", "2: datetime.datetime.now"),
        ("import datetime as dt\nx = dt.datetime.utcnow()", "2: datetime.datetime.utcnow"),
        ("from datetime import date\nx = date.today()", "2: datetime.date.today"),
        ("import asyncio\nasync def f():\n    await asyncio.sleep(1)", "3: asyncio.sleep"),
        ("from asyncio import sleep\nasync def f():\n    await sleep(0)", "3: asyncio.sleep"),
        ("import random\nx = random.random()", "2: random.random"),
        ("from random import choice\nx = choice([1])", "2: random.choice"),
        ("import random\nx = random.Random()", "2: random.Random without a seed"),
        ("import numpy as np\nx = np.random.default_rng()", "2: numpy.random.default_rng"),
        ("import secrets\nx = secrets.token_hex()", "2: secrets.token_hex"),
        ("import os\nx = os.urandom(1)", "2: os.urandom"),
        ("x = open('y')", "1: open"),
        ("f = open", "1: open"),
        ("from pathlib import Path\nx = Path('y').read_text()", "2: .read_text"),
        ("def f(path):\n    return path.open()", "2: .open"),
        ("def f(self):\n    return self.path.open('rb')", "2: .open"),
        ("def f(path):\n    return path.open(encoding='utf-8')", "2: .open"),
        ("def f(path):\n    return path.exists", "2: .exists"),
        ("import os\nx = os.open('y', 0)", "2: os.open"),
        ("from pipeline.artifacts import write_json\nwrite_json(1, 2)", "2: pipeline.artifacts.write_json"),
        ("import socket\nx = socket.create_connection(('h', 1))", "2: socket.create_connection"),
        ("import asyncio\nx = asyncio.open_connection('h', 1)", "2: asyncio.open_connection"),
        ("import urllib.request\nx = urllib.request.urlopen('h')", "2: urllib.request.urlopen"),
        ("import threading\nx = threading.Thread()", "2: threading.Thread"),
        ("import asyncio\nx = asyncio.to_thread(print)", "2: asyncio.to_thread"),
        ("def f(loop):\n    loop.run_in_executor(None, print)", "2: .run_in_executor"),
    ],
)
def test_a_planted_violation_is_found(source, found):
    assert list(violations(source, EVERYTHING, METHODS)) == [found]


@pytest.mark.parametrize(
    "source",
    [
        "import random\ndef f(draw: random.Random) -> float:\n    return draw.random()",
        "import random\nx = random.Random(7)",
        "class A:\n    def time(self): ...\n    def f(self, clock):\n        return self.time() + clock.now_ms()",
        "from datetime import UTC, datetime\nx = datetime.fromtimestamp(0, UTC)",
        "async def f(clock):\n    await clock.sleep(1)",
        "import asyncio\nlock = asyncio.Lock()",
        "class A:\n    def f(self):\n        self._open()",
        "def f(books, symbol):\n    return books.open(symbol)",
        "class Bars:\n    open: float\n    close: float",
    ],
)
def test_what_comes_through_a_seam_is_fine(source):
    assert list(violations(source, EVERYTHING, METHODS)) == []
