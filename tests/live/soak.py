"""Years of trading with crashes and faults, and what came of them: `python tests/live/soak.py --help`.

Each worker lives on in one world: what was held, the books and their journal's end are carried from window to window
(eight bars and a while of calm), so that anything that grows, or goes wrong only late, shows.
"""

import argparse
import gc
import math
import multiprocessing
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from live.network import Faults
from live.truth import KINDS
from live.world import BARS, CALM_MS, World, sometimes

from pipeline.live import books

YEAR_MS, HOUR_MS = 365 * 86_400_000, 3_600_000
# Crashes in a window, at most and on average: so many that they reach to its end.
MOST, USUAL = 40, 39
HARSH = Faults(
    event_lost=0.6, event_twice=0.6, query_fails=0.4, lag=0.6, reply_lost=0.4, partial=0.7, cancel_lost=0.4,
    unavailable=0.15, refused=0.1, outage=1.0, foreign=0.05,
    slow=0.2, gap=0.02,
)  # fmt: skip


@dataclass
class Tally:
    """What some windows came to. wrong: by kind; first: the words of the first one; memory_mb: resident at the end."""

    windows: int = 0
    crashes: int = 0
    faults: int = 0
    simulated_ms: int = 0
    longest_bare_ms: int = 0
    memory_mb: float = 0.0
    wrong: Counter[str] = field(default_factory=Counter)
    first: str = ""

    def add(self, other: "Tally") -> None:
        """Add up."""
        self.windows += other.windows
        self.crashes += other.crashes
        self.faults += other.faults
        self.simulated_ms += other.simulated_ms
        self.longest_bare_ms = max(self.longest_bare_ms, other.longest_bare_ms)
        self.memory_mb = max(self.memory_mb, other.memory_mb)
        self.wrong += other.wrong
        self.first = self.first or other.first


def live_on(seed: int, bar_ms: int, windows: int) -> Iterator[Tally]:
    """A world that goes on for ever, told of every so many windows. After a fault of ours it begins anew."""
    # A start copies the books, and there are a dozen in each window.
    books.KEPT = 20
    world, number = World(seed, faults=HARSH, bar_ms=bar_ms, reconcile_ms=HOUR_MS), 0
    while True:
        tally = Tally()
        for _ in range(windows):
            number += 1
            crashed, injected, begun = world.crashed, world.injected, world.now
            world.crashes = sometimes(seed * 1_000_000 + number, 0.05, MOST)
            world.faults = HARSH if number % 4 else Faults()
            try:
                wrong = world.run().faults_found()
            except Exception as error:
                wrong = [f"journal: {error!r}"]
            tally.windows += 1
            tally.crashes += world.crashed - crashed
            tally.faults += world.injected - injected
            tally.simulated_ms += world.now - begun
            tally.longest_bare_ms = max(tally.longest_bare_ms, world.longest_bare_ms)
            if wrong:
                tally.wrong.update(one.split(":")[0] for one in wrong)
                tally.first = tally.first or f"seed {seed}, window {number}: {wrong[0]}"
                world = World(seed + number, faults=HARSH, bar_ms=bar_ms, reconcile_ms=HOUR_MS)
            else:
                world.settle()
        gc.collect()
        tally.memory_mb = _resident_mb()
        yield tally


def _resident_mb() -> float:
    """Memory of this process now, not at its peak."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def _work(seed: int, bar_ms: int, windows: int, told: "multiprocessing.Queue[tuple[int, Tally]]") -> None:
    # The parent's handler is inherited, and it alone is to say how this ends.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for tally in live_on(seed, bar_ms, windows):
        told.put((seed, tally))


def soak(
    crash_points: int, years: float, jobs: int, seed: int, minutes: float
) -> tuple[Tally, list[list[float]]]:  # fmt: skip
    """Go on until both are reached, or the time is up; the sum, and the memory of each worker over time, MB."""
    # Bars so long that both goals are reached at the same time.
    expected = max(crash_points / USUAL, 1)
    bar_ms = max(12_000, int((years * YEAR_MS / expected - CALM_MS) / BARS * 1.1))
    windows = min(max(5, int(expected / jobs / 20)), 200)
    context = multiprocessing.get_context("fork")
    told: multiprocessing.Queue[tuple[int, Tally]] = context.Queue()
    workers = [
        context.Process(target=_work, args=(seed + n, bar_ms, windows, told), daemon=True) for n in range(jobs)
    ]  # fmt: skip
    for worker in workers:
        worker.start()
    total, memory = Tally(), [[] for _ in range(jobs)]
    print(f"bars of {bar_ms / 1000:.0f} s, {jobs} workers, seed {seed}")
    print(f"{'crash points':>13} {'faults':>10} {'years':>7} {'wrong':>6} {'MB':>7} {'minutes':>8}")
    begun = time.monotonic()
    try:
        while (total.crashes < crash_points or total.simulated_ms < years * YEAR_MS) and (
            time.monotonic() - begun < minutes * 60
        ):
            who, tally = told.get()
            total.add(tally)
            memory[who - seed].append(tally.memory_mb)
            print(
                f"{total.crashes:13,} {total.faults:10,} {total.simulated_ms / YEAR_MS:7.2f} {total.wrong.total():6} "
                f"{tally.memory_mb:7.1f} {(time.monotonic() - begun) / 60:8.1f}",
                flush=True,
            )
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
    return total, memory


def main() -> int:
    """Run it; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--crash-points", type=int, default=1_000_000)
    parser.add_argument("--years", type=float, default=10)
    parser.add_argument("--minutes", type=float, default=math.inf, help="end after so long, wherever it stands")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    # As Ctrl-C does, so that the workers are ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    total, memory = soak(asked.crash_points, asked.years, asked.jobs, asked.seed, asked.minutes)
    print(f"\n{total.crashes:,} crash points, {total.faults:,} faults, {total.windows:,} windows,", end=" ")
    print(f"{total.simulated_ms / YEAR_MS:.1f} years simulated")
    for kind in KINDS:
        print(f"  {kind:16} {total.wrong[kind]}")
    print(f"  longest time without a stop, with faults: {total.longest_bare_ms / 1000:.0f} s")
    for number, one in enumerate(memory):
        # The first samples fill what is kept: names of orders, and orders that have ended.
        print(f"  memory of worker {number}: {', '.join(f'{mb:.1f}' for mb in one[:: max(1, len(one) // 10)])} MB")
    if total.wrong:
        print(f"first: {total.first}")
    return int(bool(total.wrong))


if __name__ == "__main__":
    sys.exit(main())
