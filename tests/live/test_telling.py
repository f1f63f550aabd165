"""One call tells all listeners, and none of them can harm the caller or the others."""

from pipeline.live.telling import LEVELS, FanOut, tell_nobody


def test_every_listener_hears_every_event_in_order():
    heard: list[tuple[int, str, dict]] = []
    tell = FanOut(lambda event, fields: heard.append((1, event, dict(fields))))
    tell.add(lambda event, fields: heard.append((2, event, dict(fields))))
    tell("fill", symbol="BTCUSDT", qty="0.1")
    assert heard == [(n, "fill", {"symbol": "BTCUSDT", "qty": "0.1"}) for n in (1, 2)]


def test_a_listener_that_raises_spoils_nothing_and_is_reported_once():
    heard: list[str] = []

    def broken(event, fields):
        raise RuntimeError("canary-secret")

    def whole(event, fields):
        heard.append(f"{event} {fields.get('reason', '')}".strip())

    tell = FanOut(broken, whole)
    tell("start")
    tell("stop")
    (name,) = tell.failures
    assert heard == [f"error {name} cannot listen: RuntimeError", "start", "stop"]
    assert tell.failures[name] == 3  # two events and the report of its own failure


def test_a_listener_that_left_hears_nothing_more():
    heard: list[str] = []

    def listener(event, fields):
        heard.append(event)

    tell = FanOut(listener)
    tell("start")
    tell.remove(listener)
    tell("stop")
    assert heard == ["start"]


def test_a_field_may_be_called_event_and_nobody_minds_silence():
    heard: list[dict] = []
    FanOut(lambda event, fields: heard.append(dict(fields)))("fill", event="x")
    tell_nobody("fill", event="x")
    assert heard == [{"event": "x"}]


def test_every_level_is_one_that_the_log_knows():
    assert set(LEVELS.values()) == {"debug", "info", "warning", "error"}
