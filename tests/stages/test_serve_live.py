"""What a person is told when `pipeline serve` cannot go on."""

import json
from pathlib import Path

import pytest

from pipeline.config.serve import Log as LogSettings
from pipeline.exchange.port import Barred, Refused, Unavailable, Unclear, WrongKey
from pipeline.live.logs import ServeLog
from pipeline.live.redaction import Redactor
from pipeline.live.telling import FanOut, tell_nobody
from pipeline.stages.serve_live import _explained


@pytest.mark.parametrize(
    "error", [Unavailable("-1021: out of time"), Barred("banned"), Unclear("?"), Refused(-1, "no"), WrongKey("bad")]
)
def test_an_exchange_that_cannot_be_talked_to_is_one_message_with_a_hint(error):
    told = _explained(error, Path("serve.log"), tell_nobody)
    assert told.exit_code == 3 and str(error) in told.message and told.hint


def test_a_mistake_of_ours_is_one_message_and_its_traceback_is_in_the_log(tmp_path):
    log = ServeLog(tmp_path / "serve.log", LogSettings(), lambda: 0, Redactor([]))
    try:
        {}["nothing"]
    except KeyError as error:
        told = _explained(error, tmp_path / "serve.log", FanOut(log))
    log.close()
    # Not 1 or 2, after which systemd does not start it again.
    assert told.exit_code == 70 and "KeyError" in told.message and "serve.log" in told.hint
    line = json.loads((tmp_path / "serve.log").read_text())
    assert line["event"] == "crash" and line["level"] == "error"
    assert "Traceback" in line["exception"] and "in test_a_mistake_of_ours" in line["exception"]
