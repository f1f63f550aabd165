"""The real process, killed and restarted at any moment, against the real exchange; and every fault of the menu."""

import os
import random
import time

import pytest
from live import processes
from live.canaries import KEY, SECRET, Canaries
from live.processes import Served, journal, market, prepare, wrong_at_the_end

from pipeline.exchange.local.scenario import Trader
from pipeline.testing import Scenario

SECONDS = float(os.environ.get("PIPELINE_BAR_SECONDS", "0.4"))
KILLS = int(os.environ.get("PIPELINE_KILLS", "20"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(60 + 60 * KILLS)
def test_killed_at_any_moment_it_loses_doubles_and_forgets_nothing(folder):
    draw = random.Random(11)
    n = processes.HISTORY + 400 + 60 * KILLS
    prepare(n)
    scenario = Scenario(accounts=[Trader(key=KEY, secret=SECRET)])
    with market(n, SECONDS, scenario) as running:
        served = Served(running.exchange.url, KEY, SECRET)
        for _ in range(KILLS):
            served.start()
            # At once, at some moment of a bar, or once there is something to lose.
            time.sleep(draw.choice((0.0, 0.1, 2 * SECONDS, 6 * SECONDS)) * draw.random())
            served.kill()
        served.start()
        decided = processes.bars_decided()
        served.wait_for(lambda: processes.bars_decided() > decided + 8, 60)
        running.hold()
        time.sleep(2)
        assert served.stop() < 5
        wrong = wrong_at_the_end(running.exchange)
        assert wrong == []
    story = journal()
    assert sum(kind == "START" for kind, _ in story) == KILLS + 1
    assert sum(kind == "FILL" for kind, _ in story) > KILLS // 2, "it has hardly traded, and proves little"
    Canaries().assert_unseen(folder, {"output": served.output.read_text()})
