"""Processes that are idle before each bar, as servers are, and take turns, so that a slow spell meets all of them."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

IDLE_S, REHEARSE_S = 0.03, 0.01


def answer(
    facts: Mapping[str, Any], step: Callable[[int], Callable[[], object]], rehearse: Callable[[int], None]
) -> None:
    """Be such a process: tell facts, then live through as many bars as asked for, until nobody asks.

    step: number of a bar → what is timed. rehearse: called every 10 ms of the idleness before a bar, if asked for.
    """
    print(json.dumps(facts), flush=True)
    number = 0
    for line in sys.stdin:
        bars, is_rehearsed = json.loads(line)
        times = []
        for _ in range(bars):
            due = step(number)
            for _ in range(round(IDLE_S / REHEARSE_S) - 1 if is_rehearsed else 0):
                time.sleep(REHEARSE_S)
                rehearse(number)
            time.sleep(REHEARSE_S if is_rehearsed else IDLE_S)
            begin, used = time.perf_counter_ns(), time.thread_time_ns()
            due()
            spent = time.thread_time_ns() - used
            times.append(((time.perf_counter_ns() - begin) / 1000, spent / 1000))
            number += 1
        print(json.dumps(times), flush=True)


class Idle:
    """A process that answers, seen from the one that asks; use as a context. words: after the interpreter."""

    def __init__(self, words: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.facts: dict[str, Any] = self._heard()

    def ask(self, bars: int, is_rehearsed: bool = False) -> list[tuple[float, float]]:
        """Wall and processor time of each bar, µs."""
        assert self._process.stdin is not None
        print(json.dumps([bars, is_rehearsed]), file=self._process.stdin, flush=True)
        return [tuple(own) for own in self._heard()]

    def _heard(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self._process.args!r} ended with {self._process.wait()}")
        return json.loads(line)

    def __enter__(self) -> "Idle":
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
