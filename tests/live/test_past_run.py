"""A past run: what is held of it, and what is read once more."""

from typing import Any

from pipeline.live.past_run import bodies, past_run


def start(mode: str, **more: Any) -> dict[str, Any]:
    body = {"mode": mode, "bundle": "b", "interval": "1m", "origin": 0, "capital": 1.0, "config": "c"}
    return body | more


def bar(time: int, age: float | None = 5.0) -> dict[str, Any]:
    return {"t": time, "at": time + 5, "bundle": "b", "late": False, "age_ms": age, "s": {"X": {"close": float(time)}}}


def test_bodies_of_the_bars_of_one_account_are_read_again_in_order():
    kinds = [
        ("START", start("live", fresh=True)), ("BAR", bar(1)), ("START", start("shadow", fresh=True)), ("BAR", bar(2)),
        ("FILL", {"id": "x"}), ("BAR", bar(3, None)), ("START", start("live")), ("BAR", bar(4)),
        ("START", start("shadow")), ("BAR", bar(5, float("inf"))),
    ]  # fmt: skip
    records = [(number, kind, body) for number, (kind, body) in enumerate(kinds, 1)]
    run = past_run(records)
    assert [(one.open_time_ms, one.age_ms) for one in run.bars] == [(2, 5.0), (3, None), (5, None)]
    assert [body["t"] for body in bodies(records, run.bars)] == [2, 3, 5]
    assert [body["s"]["X"]["close"] for body in bodies(records, run.bars[1:2])] == [3.0]
    # All that is held of a bar.
    assert run.bars[0].__slots__ == ("record", "open_time_ms", "at_ms", "bundle", "is_late", "age_ms")
