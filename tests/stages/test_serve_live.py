"""What a person is told when `pipeline serve` cannot go on."""

import logging
from pathlib import Path

import pytest

from pipeline.exchange.port import Barred, Refused, Unavailable, Unclear, WrongKey
from pipeline.stages.serve_live import _explained


@pytest.mark.parametrize(
    "error", [Unavailable("-1021: out of time"), Barred("banned"), Unclear("?"), Refused(-1, "no"), WrongKey("bad")]
)
def test_an_exchange_that_cannot_be_talked_to_is_one_message_with_a_hint(error):
    told = _explained(error, Path("serve.log"))
    assert told.exit_code == 3 and str(error) in told.message and told.hint


def test_a_mistake_of_ours_is_one_message_and_its_traceback_is_in_the_log(caplog):
    try:
        {}["nothing"]
    except KeyError as error:
        with caplog.at_level(logging.CRITICAL):
            told = _explained(error, Path("data/x/serve/serve.log"))
    # Not 1 or 2, after which systemd does not start it again.
    assert told.exit_code == 70 and "KeyError" in told.message and "data/x/serve/serve.log" in told.hint
    assert "Traceback" in caplog.text and "in test_a_mistake" in caplog.text
