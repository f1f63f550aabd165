"""Real processes that trade and live through every fault of the menu, one after another."""

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest
from live import processes
from live.canaries import KEY, SECRET, Canaries
from live.cases import CASES
from live.faulting import Life, live_through
from live.processes import Served, market, prepare, wrong_at_the_end

from pipeline.exchange.local.faults import KINDS
from pipeline.exchange.local.scenario import Trader
from pipeline.testing import Scenario

SECONDS = float(os.environ.get("PIPELINE_BAR_SECONDS", "0.5"))
# How often each fault is gone through; more than once means that those that take minutes are as well.
ROUNDS = int(os.environ.get("PIPELINE_FAULT_ROUNDS", "1"))
# Only cases whose code or words begin so, to look at one of them.
ONLY = os.environ.get("PIPELINE_FAULT", "")
# Each group has a process and an exchange of its own: first letters of its cases' codes, and the faults that they are.
GROUPS: dict[str, tuple[str, set[str]]] = {
    "market": ("W", {
        "ws_drop", "ws_half_open", "outage", "kline_duplicate", "kline_out_of_order", "kline_late_open",
        "kline_missing", "bar_missing", "kline_revised", "server_shutdown", "ws_malformed", "ws_huge", "ws_burst",
    }),
    "orders": ("AO", {
        "wsapi_drop", "wsapi_late_error", "report_lost", "report_duplicated", "report_reordered",
        "report_before_reply", "lose_reply", "not_accepted", "not_found", "partial_fill", "fill_during_cancel",
        "reject", "filter_change", "symbol_status",
    }),
    "limits": ("RCX", {
        "rate_limit", "waf", "maintenance", "latency", "clock", "restart", "foreign_order", "foreign_deposit",
    }),
}  # fmt: skip


def test_no_fault_of_the_menu_is_left_out():
    assert set().union(*(kinds for _, kinds in GROUPS.values())) == set(KINDS)
    assert {case.code[0] for case in CASES} == {letter for letters, _ in GROUPS.values() for letter in letters}


@pytest.mark.slow
@pytest.mark.waiting
@pytest.mark.timeout(3600 * ROUNDS)
@pytest.mark.parametrize("group", GROUPS)
def test_it_recovers_from_every_fault_of_the_menu(group, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    letters, kinds = GROUPS[group]
    cases = [
        one for one in CASES
        if one.code[0] in letters and (ROUNDS > 1 or not one.is_long) and f"{one.code} {one.words}".startswith(ONLY)
    ]  # fmt: skip
    n = processes.HISTORY + 20_000
    prepare(n)
    scenario = Scenario(accounts=[Trader(key=KEY, secret=SECRET)])
    took: dict[tuple[str, str], list[float]] = defaultdict(list)
    wrong: list[str] = []
    with market(n, SECONDS, scenario) as running, Served(running.exchange.url, KEY, SECRET) as served:
        life = Life(served, running)
        served.start()
        for _ in range(ROUNDS):
            for case in cases:
                seconds, found = live_through(life, case)
                took[case.code, case.words].append(seconds)
                wrong += [f"{case.code}, {case.words}: {one}" for one in found]
                print(f"{case.code} {case.words}: {seconds:.2f} s {'; '.join(found)}", flush=True)
        running.hold()
        seconds = served.stop()
        assert wrong_at_the_end(running.exchange, life.foreign) == []
        life.tail.close()
    print(f"SIGTERM: {seconds:.2f} s", flush=True)
    assert wrong == []
    if not ONLY:
        assert {kind for _, kind in life.witness.faults} == kinds, "a fault of the menu was left out"
    Canaries().assert_unseen(tmp_path, {"output": served.output.read_text()})
    if target := os.environ.get("PIPELINE_RELIABILITY"):
        told = [{"code": code, "case": words, "seconds": seconds} for (code, words), seconds in took.items()]
        Path(target).mkdir(parents=True, exist_ok=True)
        (Path(target) / f"{group}.json").write_text(json.dumps({"bar_seconds": SECONDS, "cases": told}))
