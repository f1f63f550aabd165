"""Drive the local exchange with clients that others wrote, and write the table of what worked.

    python tests/conformance/run.py [COLUMN… | own-tests]      (as `make conformance` does)

Each client has a virtual environment of its own below .conformance/, as some share a package name; each column gets a
fresh exchange. The table goes to docs/exchange.md if all columns ran. Exit code 1 if anything failed.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import own_tests
from operations import ROWS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ENVIRONMENTS = ROOT / ".conformance"
GUIDE = ROOT / "docs" / "exchange.md"
_BEGIN, _END = "<!-- conformance: generated -->\n", "<!-- end -->"
_MARKS = {"passed": "✓", "absent": "–", "failed": "✗"}
_LONGEST = 600


@dataclass(frozen=True)
class Column:
    """A way to use a client. face: the argument of its script."""

    client: str
    face: str
    title: str

    @property
    def name(self) -> str:
        """As it is chosen on the command line."""
        return f"{self.client}:{self.face}"


COLUMNS = (
    Column("python-binance", "sync", "python-binance `Client`"),
    Column("python-binance", "async", "python-binance `AsyncClient`, streams"),
    Column("python-binance", "ws", "python-binance WebSocket API"),
    Column("ccxt", "rest", "ccxt"),
    Column("ccxt", "pro", "ccxt.pro"),
    Column("binance-connector", "rest", "binance-connector"),
    Column("binance-connector", "ws", "binance-connector WebSocket API, streams"),
    Column("binance-sdk-spot", "rest", "binance-sdk-spot"),
    Column("binance-sdk-spot", "ws", "binance-sdk-spot WebSocket API, streams"),
)


@dataclass
class Outcome:
    """What came out of a column. broken: why it did not run to its end, empty if it did."""

    found: dict[str, tuple[str, str]] = field(default_factory=dict)
    broken: str = ""

    @property
    def failed(self) -> bool:
        """Whether anything is wrong."""
        return bool(self.broken) or any(mark == "failed" for mark, _ in self.found.values())


def environment(client: str) -> Path:
    """The interpreter of a client's environment, made or brought up to date if its requirements changed.

    Raises SystemExit: it cannot be installed.
    """
    wanted = HERE / f"requirements-{client}.txt"
    place = ENVIRONMENTS / client
    python, stamp = place / "bin" / "python", place / "installed"
    digest = hashlib.sha256(wanted.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == digest:
        return python
    print(f"installing {client} …", flush=True)
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    uv = shutil.which("uv")
    install = [uv, "pip", "install", "--quiet", "--python", str(python)] if uv else [
        str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]  # fmt: skip
    done = subprocess.run([*install, "-r", str(wanted)], check=False)
    if done.returncode:
        raise SystemExit(f"error: {client} cannot be installed from {wanted.relative_to(ROOT)}")
    stamp.write_text(digest)
    return python


@contextlib.contextmanager
def exchange(options: str) -> Iterator[dict[str, str]]:
    """A local exchange; gives the environment that a script finds it by. Raises SystemExit: it does not start."""
    command = [sys.executable, "-m", "pipeline.cli", "exchange", *options.split(), "--start", "2024-03-01"]
    command += ["--port", "0", "--json", "--scenario", str(HERE / "scenario.yaml")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit("error: the exchange did not start")
        where = json.loads(line)
        yield _clean(os.environ) | {f"EXCHANGE_{name.upper()}": where[name] for name in ("url", "streams", "ws_api")}
    finally:
        process.terminate()
        process.wait(20)


def run(column: Column) -> Outcome:
    """Run a column against an exchange of its own."""
    python = environment(column.client)
    with exchange("--symbol BTCUSDT --symbol ETHUSDT --interval 5m --speed step") as variables:
        script = HERE / f"with_{column.client.replace('-', '_')}.py"
        command = [str(python), str(script), column.face]
        try:
            done = subprocess.run(
                command, env=variables, capture_output=True, text=True, timeout=_LONGEST, check=False
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Outcome(broken=f"not done after {_LONGEST} s")
        if os.environ.get("CONFORMANCE_DEBUG"):
            print(done.stderr, file=sys.stderr)
        return read(done.stdout, done.stderr)


def run_own_tests() -> tuple[bool, str]:
    """Run python-binance's own tests; whether all pass, and a sentence about it."""
    python = environment("python-binance-tests")
    root = own_tests.fetch(python, ENVIRONMENTS / "python-binance-tests" / "source")
    symbols = " ".join(f"--symbol {name}" for name in ("BTCUSDT", "ETHUSDT", "BNBUSDT", "LTCUSDT", "BNBBTC"))
    with exchange(f"{symbols} --interval 1m --speed 60") as variables:
        passed, failed, names = own_tests.run(python, root, variables)
    told = f"python-binance's own tests of Spot: {passed} of {passed + failed} pass."
    return not failed, told + (f" Not: {', '.join(names)}." if names else "")


def _clean(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment without proxies: some clients would ask one even for an address of this machine."""
    return {name: value for name, value in variables.items() if not name.lower().endswith("_proxy")}


def read(out: str, err: str) -> Outcome:
    """The outcome of a script, from what it wrote."""
    known = {operation for section in ROWS.values() for operation in section}
    outcome, done = Outcome(), False
    for line in out.splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            continue  # Some clients print.
        if not isinstance(told, dict):
            continue
        done = done or "done" in told
        if "operation" in told:
            if told["operation"] not in known:
                return Outcome(broken=f"operations.py has no row {told['operation']!r}")
            outcome.found[told["operation"]] = (told["outcome"], told["error"])
    if not done:
        outcome.broken = (err.strip().splitlines() or ["it said nothing"])[-1]
    return outcome


def table(outcomes: Mapping[Column, Outcome]) -> str:
    """The outcomes in Markdown."""
    lines = [_line(["", *(column.title for column in outcomes)]), _line(["---", *(":-:" for _ in outcomes)])]
    for section, operations in ROWS.items():
        lines.append(_line([f"**{section}**", *("" for _ in outcomes)]))
        for operation in operations:
            cells = [_MARKS[outcome.found.get(operation, ("absent", ""))[0]] for outcome in outcomes.values()]
            lines.append(_line([operation, *cells]))
    failures = [
        f"- {column.title}: {operation}: `{error}`"
        for column, outcome in outcomes.items()
        for operation, (mark, error) in [
            *outcome.found.items(),
            *([("all", ("failed", outcome.broken))] if outcome.broken else []),
        ]
        if mark == "failed"
    ]
    return "\n".join([*lines, *(["", "Failures:", "", *failures] if failures else [])])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def report(outcomes: Mapping[Column, Outcome], own: str) -> str:
    """What the guide says of them."""
    clients = dict.fromkeys(column.client for column in outcomes)
    pins = [
        f"{client} {line.split('==')[1]}"
        for client in clients
        for line in (HERE / f"requirements-{client}.txt").read_text().splitlines()
        if line.lower().replace("_", "-").startswith(f"{client}==")
    ]
    return f"{', '.join(pins)}.\n\n{table(outcomes)}\n\n{own}\n"


def written(guide: str, told: str) -> str:
    """A guide with something else between its marks. Raises ValueError: it has none."""
    begin = guide.index(_BEGIN) + len(_BEGIN)
    return guide[:begin] + told + guide[guide.index(_END, begin) :]


def main(names: list[str]) -> int:
    """Run the columns named, or all; 1 if anything failed."""
    known = [*(column.name for column in COLUMNS), "own-tests"]
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"error: no column {unknown[0]!r}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    outcomes = {}
    for column in COLUMNS:
        if not names or column.name in names:
            outcomes[column] = outcome = run(column)
            counts = {mark: sum(one == word for one, _ in outcome.found.values()) for word, mark in _MARKS.items()}
            told = ", ".join(f"{count} {mark}" for mark, count in counts.items())
            print(f"{column.name}: {told}{', ' + outcome.broken if outcome.broken else ''}", flush=True)
    if outcomes:
        print(table(outcomes))
    good, own = run_own_tests() if not names or "own-tests" in names else (True, "")
    print(own)
    if not names:
        GUIDE.write_text(written(GUIDE.read_text(encoding="utf-8"), report(outcomes, own)), encoding="utf-8")
    return int(not good or any(outcome.failed for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
