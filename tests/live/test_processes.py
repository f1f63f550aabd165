"""The real process, killed and restarted at any moment, against the real exchange."""

import os
import random
import time

import pytest
from live import processes
from live.canaries import KEY, SECRET, Canaries
from live.processes import Served, Tail, journal, market, prepare, wrong_at_the_end, wrong_when_settled

from pipeline.exchange.local.scenario import Trader
from pipeline.testing import Scenario

SECONDS = float(os.environ.get("PIPELINE_BAR_SECONDS", "0.4"))
KILLS = int(os.environ.get("PIPELINE_KILLS", "20"))
# Right after such a record has appeared: what it announces is about to be done, or is under way.
RECORDS = ("START", "INTENT", "SENT", "OUTCOME", "FILL", "CANCEL", "LEAVE", "BAR", "TRADE")
# While it imports or reads its journal; some time after it has begun to trade.
OTHERS = ("starting", "trading")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def live_until(served: Served, tail: Tail, moment: str, draw: random.Random) -> None:
    """Start it, and let it live until a moment has come."""
    tail.look()
    if moment == "starting":
        served.begin()
        time.sleep(draw.uniform(0, 3))
    elif moment == "trading":
        served.start()
        time.sleep(draw.uniform(0, 3))
    else:
        # The first one is often of the recovery.
        which = draw.choice((1, 1, 2, 5)) if moment != "START" else 1
        served.begin()
        seen = 0

        def has_come() -> bool:
            nonlocal seen
            seen += sum(kind == moment for kind, _ in tail.look())
            return seen >= which

        served.wait_for(has_come, 240, every=0.001)
        time.sleep(draw.choice((0, 0.002, 0.01, 0.05)) * draw.random())


@pytest.mark.slow
@pytest.mark.waiting
@pytest.mark.timeout(120 + 60 * KILLS)
def test_killed_at_any_moment_it_loses_doubles_and_forgets_nothing(folder):
    draw = random.Random(11)
    n = processes.HISTORY + 2000 + 200 * KILLS
    prepare(n)
    scenario = Scenario(accounts=[Trader(key=KEY, secret=SECRET)])
    moments = [*RECORDS, *OTHERS] * (KILLS // len((*RECORDS, *OTHERS)) + 1)
    with market(n, SECONDS, scenario) as running, Served(running.exchange.url, KEY, SECRET) as served:
        tail = Tail()
        for moment in draw.sample(moments, KILLS):
            live_until(served, tail, moment, draw)
            served.kill()
        served.start()
        decided = processes.bars_decided()
        served.wait_for(lambda: processes.bars_decided() > decided + 8, 120)
        running.hold()
        assert wrong_when_settled(running.exchange) == []
        print(f"SIGTERM: {served.stop():.2f} s")
        assert wrong_at_the_end(running.exchange) == []
        tail.close()
    story = journal()
    assert sum(kind == "START" for kind, _ in story) > KILLS // 2
    assert sum(kind == "FILL" for kind, _ in story) > KILLS // 2, "it has hardly traded, and proves little"
    Canaries().assert_unseen(folder, {"output": served.output.read_text()})
