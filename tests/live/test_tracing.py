"""An order's story in a journal built by hand."""

from typing import Any

import pytest

from pipeline.errors import BadInput
from pipeline.live.tracing import trace_decision, trace_order

HOUR = 3_600_000


def bar(t: int, bundle: str = "b1") -> tuple[str, dict[str, Any]]:
    return "BAR", {"t": t, "bundle": bundle, "s": {"BTCUSDT": {"score": 0.5}}}


def intent(name: str, t: int, leg: str = "entry") -> tuple[str, dict[str, Any]]:
    return "INTENT", {"id": name, "symbol": "BTCUSDT", "bar": t, "leg": leg, "bundle": "b1", "attempt": 0}


RECORDS = [
    ("START", {"mode": "shadow"}),
    bar(HOUR),
    ("START", {"mode": "live"}),
    bar(HOUR, "b2"),
    intent("BTC-en0-aa", HOUR),
    ("SENT", {"id": "BTC-en0-aa"}),
    ("OUTCOME", {"id": "BTC-en0-aa", "event": "acknowledge", "order_id": 7001}),
    ("FILL", {"id": "BTC-en0-aa", "trade_id": 7}),
    bar(2 * HOUR),
    intent("BTC-ex0-bb", 2 * HOUR, "exit"),
    ("FILL", {"id": "BTC-ex0-bb", "trade_id": 8}),
    ("TRADE", {"pnl": 1.0, "orders": ["BTC-en0-aa", "BTC-ex0-bb"]}),
    ("START", {"mode": "live"}),
    bar(HOUR, "b3"),
]


def read() -> list[tuple[int, str, dict[str, Any]]]:
    return [(number, kind, body) for number, (kind, body) in enumerate(RECORDS, 1)]


@pytest.mark.parametrize("name", ["BTC-en0-aa", "BTC-en", "7001"])
def test_an_order_is_found_by_its_id_the_beginning_of_it_and_the_exchanges_number(name: str) -> None:
    story = trace_order(read, name)
    assert story.intent is not None and story.intent[0] == 5
    assert [record[0] for record in story.fate] == [6, 7, 8]
    assert [record[0] for record in story.trades] == [12]


def test_the_bar_of_an_order_is_that_of_its_own_run() -> None:
    story = trace_order(read, "BTC-en0-aa")
    assert story.bar is not None and story.start is not None
    assert (story.start[0], story.bar[0], story.bar[2]["bundle"]) == (3, 4, "b2")


def test_a_decision_is_the_last_one_of_its_bar() -> None:
    story = trace_decision(read, "BTCUSDT", HOUR)
    assert story.bar is not None and story.bar[0] == 14


@pytest.mark.parametrize(
    ("name", "message"),
    [("BTC-", "may be BTC-en0-aa, BTC-ex0-bb"), ("ETH", "no order 'ETH'"), ("8", "no order '8'"), ("700", "no order")],
)
def test_what_names_no_order_or_several_is_refused(name: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        trace_order(read, name)


def test_a_bar_that_was_never_decided_is_refused() -> None:
    with pytest.raises(BadInput, match="no bar of BTCUSDT at 1970-01-01T09:00Z"):
        trace_decision(read, "BTCUSDT", 9 * HOUR)


def test_an_order_whose_bar_is_missing_has_none() -> None:
    def without() -> list[tuple[int, str, dict[str, Any]]]:
        return [record for record in read() if not (record[1] == "BAR" and record[2]["t"] == 2 * HOUR)]

    assert trace_order(without, "BTC-ex0-bb").bar is None
