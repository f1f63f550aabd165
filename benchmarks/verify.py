"""`pipeline verify` over a year of minutes: 525,600 bars, about 60 features, two labels, four models, the full run.

python benchmarks/verify.py makes the year by itself (synthetic, a few minutes). With a folder as argument it keeps the
files there, and only verifies when they are there already.
"""

import contextlib
import resource
import sys
import tempfile
import time
from pathlib import Path

from measure import report

from pipeline.artifacts import Layout
from pipeline.config import Config, load_config
from pipeline.stages import verify
from pipeline.stages.runner import STAGES, run_stage
from pipeline.stages.verify_kept import Kept

CONFIG = Path(__file__).parent.parent / "configs" / "btcusdt-1m.yaml"
CHANGES = [
    "download.source=synthetic", "download.synthetic.exchange=false", 'download.start="2023-01-01"',
    'download.end="2024-01-01"', "merge.max_filled=0.2", "predict_rolling.null_paths=0", "simulate.random_entries=0",
]  # fmt: skip
LIMIT_S = 300


def chain(config: Config, layout: Layout) -> None:
    """Everything that is verified."""
    for stage in STAGES[: STAGES.index("simulate") + 1]:
        print(f"{stage} …", file=sys.stderr, flush=True)
        run_stage(stage, config, layout)


def busy() -> float:
    """Processor time of this process, all threads, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def by_check(config: Config, layout: Layout) -> dict[str, tuple[float, float]]:
    """Seconds by the clock and of the processor of each check of the full run."""
    spent: dict[str, tuple[float, float]] = {}
    clock, processor = time.perf_counter(), busy()
    for finding in verify._findings(Kept(config, layout), "full"):
        wall, cpu = spent.get(finding.check, (0.0, 0.0))
        now, used = time.perf_counter(), busy()
        spent[finding.check] = wall + now - clock, cpu + used - processor
        clock, processor = now, used
    return spent


def main(folder: Path) -> None:
    """Verify the year in `folder`, made first if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    config = load_config(CONFIG, overrides=CHANGES)
    layout = Layout(config.name)
    with contextlib.chdir(folder):
        if not (layout.simulation / "metrics.json").is_file():
            chain(config, layout)
        spent = by_check(config, layout)
    wall, cpu = (sum(times[k] for times in spent.values()) for k in (0, 1))
    report("verify, full, a year of minutes", wall, LIMIT_S, 1, of="limit")
    print(f"{'':<44} {cpu:.0f} s of the processor")
    for check, times in spent.items():
        print(f"{'':<44} {check:<18} {times[0]:>6.1f} s by the clock {times[1]:>6.1f} s of the processor")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made))
