"""What every benchmark shares: timing, the real data, and one line that says ours, the peer, the ratio, the goal."""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def best_of(function: Callable[[], object], repeats: int = 5) -> float:
    """Seconds of the fastest of `repeats` calls, after one that is not counted."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def best_of_each(functions: Sequence[Callable[[], object]], repeats: int = 5) -> list[float]:
    """As `best_of` for several, taken in turn, so that a slow spell of the machine meets all of them."""
    taken: list[list[float]] = []
    for _ in range(repeats + 1):
        row = []
        for function in functions:
            start = time.perf_counter()
            function()
            row.append(time.perf_counter() - start)
        taken.append(row)
    return [min(column) for column in zip(*taken[1:], strict=True)]


def real_data() -> Path:
    """Folder of real market data: PIPELINE_REAL_DATA, by default ../shared/data."""
    folder = Path(os.environ.get("PIPELINE_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        sys.exit(f"no real data at {folder}; set PIPELINE_REAL_DATA")
    return folder.resolve()


def report(
    name: str, ours: float, peer: float, goal: float, higher_is_better: bool = False, *, unit: str = "s", of: str = ""
) -> bool:
    """Print one figure beside its peer and add it to results/SCRIPT.json; True if the goal is met.

    The ratio is ours / peer; goal: its lowest value if higher is better, else its highest.
    of: what the peer is.
    """
    ratio = ours / peer
    met = ratio >= goal if higher_is_better else ratio <= goal
    bound = "≥" if higher_is_better else "≤"
    verdict = "met" if met else "NOT MET"
    peer_text = f"{of or 'peer'} {peer:.4g} {unit}"
    print(f"{name:<44} ours {ours:.4g} {unit:<6} {peer_text:<34} ratio {ratio:.3g} (goal {bound} {goal:g}: {verdict})")
    row = {"name": name, "ours": ours, "peer": peer, "of": of, "unit": unit, "ratio": ratio, "goal": goal}
    record(Path(sys.argv[0]).stem, row | {"higher_is_better": higher_is_better, "met": met})
    return met


def record(script: str, row: dict[str, object]) -> None:
    """Add a row to results/SCRIPT.json in place of the one of the same name."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{script}.json"
    rows = json.loads(path.read_text()) if path.is_file() else []
    path.write_text(json.dumps([r for r in rows if r["name"] != row["name"]] + [row], indent=1) + "\n")
