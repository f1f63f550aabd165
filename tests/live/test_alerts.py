"""Messages reach people through a real Apprise and a real HTTP receiver, and never slow down who tells of something."""

import contextlib
import http.server
import json
import logging
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from live import canaries
from live.canaries import Canaries

from pipeline.config.serve import Log, Notify
from pipeline.errors import BadInput
from pipeline.live.alerts import Alerts, services
from pipeline.live.logs import ServeLog
from pipeline.live.messages import Bands, Message, message, number, score_message
from pipeline.live.outbox import MOST_TRIES, MOST_WAITING, Outbox
from pipeline.live.redaction import MASK, Redactor, environment_secrets

ROOT = Path(__file__).parents[2]
EVERYTHING = Notify(events=["signal", "order", "fill", "trade", "halt", "breaker", "daily", "start", "stop", "error"])


class Receiver:
    """An HTTP server that keeps what it is sent. answers: status of each reply, the last one for all others."""

    def __init__(self, *answers: int) -> None:
        self.received: queue.Queue[dict] = queue.Queue()
        self.refused: queue.Queue[dict] = queue.Queue()
        self.answers = list(answers) or [200]
        self.gate = threading.Event()
        self.gate.set()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.gate.wait()
                status = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
                (receiver.received if status == 200 else receiver.refused).put(body)
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"json://canary-user:canary+pass%2Fword@127.0.0.1:{self.server.server_port}/canary-path-token"

    def next(self) -> str:
        got = self.received.get(timeout=120)
        return "\n".join(filter(None, [got["title"], got["message"]]))

    def close(self) -> None:
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


def alerts(receiver: Receiver, settings: Notify = EVERYTHING, **options: object) -> Alerts:
    redactor = Redactor([*environment_secrets(canaries.environment()), receiver.url])
    return Alerts(services([receiver.url], "PIPELINE_NOTIFY"), settings, redactor, **options)  # type: ignore[arg-type]


def test_an_event_arrives_as_a_message(receiver):
    listener = alerts(receiver, name="demo")
    listener("fill", {"symbol": "BTCUSDT", "side": "BUY", "qty": "0.1", "price": "60518.12", "leg": "entry", "fee": "6",
                      "fee_asset": "USDT", "client_order_id": "x-1"})  # fmt: skip
    assert receiver.next() == "demo: bought 0.1 BTCUSDT at 60,518.12\nentry, fee 6 USDT, x-1"
    listener.close()


def test_messages_arrive_in_order_and_the_rest_at_the_end(receiver):
    listener = alerts(receiver)
    receiver.gate.clear()
    for count in range(20):
        listener("order", {"symbol": "BTCUSDT", "side": "buy", "qty": str(count)})
    listener("stop", {"reason": "SIGTERM"})
    receiver.gate.set()
    listener.close(patience=60)
    heard = [receiver.next() for _ in range(21)]
    # The stop overtakes what waits, and perhaps even the first one.
    assert sorted(heard[:2]) == ["order: buy 0 BTCUSDT", "stopped\nSIGTERM"]
    assert heard[2:] == [f"order: buy {count} BTCUSDT" for count in range(1, 20)]


def test_only_the_events_that_were_chosen_are_sent(receiver):
    listener = alerts(receiver, Notify(events=["trade"]))
    for event in ("bar", "fill", "start", "nonsense", "trade"):
        listener(event, {"symbol": "BTCUSDT", "pnl": 1.0})
    listener.close(patience=60)
    assert receiver.next().startswith("⚡💰 SOLD BTCUSDT") and receiver.received.empty()


def test_a_signal_that_goes_on_without_consequence_is_told_once():
    heard: queue.Queue[str] = queue.Queue()

    def send(one: Message) -> bool:
        heard.put(f"{one.title} {'' if 'not' in one.body else 'ordered'}".strip())
        return True

    listener = Alerts({"x": send}, EVERYTHING, Redactor())
    for symbol, side, ordered in (("A", "buy", True), ("A", "buy", False), ("B", "buy", False), ("A", "sell", False),
                                  ("A", "sell", False), ("A", "sell", True), ("B", "buy", False)):  # fmt: skip
        listener("signal", {"symbol": symbol, "side": side, "ordered": ordered})
    listener.close(patience=20)
    assert [heard.get(timeout=120) for _ in range(4)] == [
        "BUY signal A ordered", "BUY signal B", "SELL signal A", "SELL signal A ordered"
    ]  # fmt: skip
    assert heard.empty()


def test_a_message_is_tried_again_until_the_service_takes_it(tmp_path):
    server = Receiver(500, 429, 200)
    log = ServeLog(tmp_path / "serve.log", Log(), lambda: 0, Redactor([server.url]))
    clock = FastClock()
    with log.hearing_libraries():
        listener = alerts(server, monotonic=clock.monotonic)
        listener("halt", {"reason": "BTCUSDT: order 7 is not ours"})
        for failures in (1, 2):
            server.refused.get(timeout=60)
            clock.pass_over(600, listener, failures)
        assert server.next().startswith("🛑 BTCUSDT halted")
        listener.close()
    server.close()
    said = [json.loads(line)["said"] for line in (tmp_path / "serve.log").read_text().splitlines()]
    assert [one for one in said if one.startswith("notifications")] == [
        "notifications to 1 json do not arrive; they are tried again", "notifications to 1 json arrive again"
    ]  # fmt: skip
    Canaries().assert_unseen(tmp_path)


class FastClock:
    """A clock of which hours can be skipped."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def pass_over(self, seconds: float, listener: Alerts, failures: int) -> None:
        for channel in listener._channels:
            with channel._changed:
                # Not before the failure has been booked: its pause counts from then.
                while channel._outbox.failures < failures:
                    channel._changed.wait(0.01)
                self.now += seconds
                channel._changed.notify()


def test_too_many_messages_are_counted_and_told_of(receiver):
    listener = alerts(receiver, Notify(events=["fill"], per_hour=5))
    receiver.gate.clear()
    for count in range(10):
        listener("fill", {"symbol": "BTCUSDT", "side": "BUY", "qty": str(count)})
    receiver.gate.set()
    heard = [receiver.next() for _ in range(4)]
    listener.close(patience=60)
    assert [text.splitlines()[0] for text in heard] == [f"bought {n} BTCUSDT" for n in range(4)]
    assert sum(int(n) for n in re.findall(r"\((\d+) more \w+ left out\)", "".join(heard))) == 6
    assert listener.left_out == 0 and receiver.received.empty()


def test_a_service_that_hangs_holds_up_neither_the_others_nor_the_caller(receiver):
    slow = Receiver()
    slow.gate.clear()
    listener = Alerts(services([slow.url, receiver.url], "V"), EVERYTHING, Redactor())
    for _ in range(3 * MOST_WAITING):
        listener("fill", {"symbol": "BTCUSDT", "side": "BUY", "qty": "1"})
    assert receiver.next().startswith("bought 1 BTCUSDT")
    assert slow.received.empty()
    slow.close()
    listener.close(patience=0)


def test_at_the_end_what_waits_is_tried_once_more_without_its_pause():
    tries: list[str] = []
    first = threading.Event()

    def send(one: Message) -> bool:
        tries.append(one.title)
        first.set()
        return False

    listener = Alerts({"x": send}, EVERYTHING, Redactor(), monotonic=lambda: 0.0)
    listener("stop", {})
    assert first.wait(20)
    with listener._channels[0]._changed:
        while not listener._channels[0]._outbox.failures:
            listener._channels[0]._changed.wait(0.01)
    listener.close(patience=20)
    assert tries == ["stopped", "stopped"]


HANGS = """
import sys
from pipeline.config.serve import Notify
from pipeline.live.alerts import Alerts, services
from pipeline.live.redaction import Redactor
listener = Alerts(services([sys.argv[1]], "V"), Notify(), Redactor())
listener("start", {"mode": "live"})
sys.stdin.readline()
listener.close(patience=0.1)
print("closed", flush=True)
"""


def test_a_service_that_hangs_does_not_keep_the_process_from_ending():
    slow = Receiver()
    slow.gate.clear()
    command = [sys.executable, "-c", HANGS, slow.url + "?rto=600&cto=600"]
    done = subprocess.run(command, input="go\n", capture_output=True, text=True, timeout=900, check=False, cwd=ROOT)
    # It ends while the receiver still holds the answer back; otherwise the time limit above would end it.
    assert (done.returncode, done.stdout) == (0, "closed\n"), done.stderr
    assert slow.received.empty()
    slow.close()


def test_secrets_are_not_sent_to_anyone(receiver):
    listener = alerts(receiver)
    listener("error", {"reason": f"GET /order?signature={canaries.SECRET} by {canaries.KEY}"})
    text = receiver.next()
    listener.close()
    assert text == f"⚠ error\nGET /order?signature={MASK} by {MASK}\nMore is in serve.log."


@pytest.mark.parametrize("address", ["nonsense", "nosuch://canary-path-token", "tgram://canary-path-token", ""])
def test_an_address_that_apprise_does_not_know_is_not_shown(address, caplog):
    with pytest.raises(BadInput, match="PIPELINE_NOTIFY: address 2 of 2 is none that Apprise knows") as error:
        services(["json://127.0.0.1:9/x", address], "PIPELINE_NOTIFY")
    assert "canary" not in str(error.value)


def test_nobody_to_tell_is_fine():
    assert services([], "PIPELINE_NOTIFY") == {}
    Alerts({}, EVERYTHING, Redactor())("halt", {})


def test_neither_apprise_nor_its_errors_write_the_address_into_the_log(tmp_path, capfd):
    server = Receiver(401)
    seen = Canaries()
    redactor = Redactor([*environment_secrets(canaries.environment()), server.url])
    log = ServeLog(tmp_path / "serve.log", Log(level="debug"), lambda: 0, redactor)
    with log.hearing_libraries():
        logging.getLogger("apprise").setLevel(logging.DEBUG)
        logging.getLogger("urllib3").setLevel(logging.DEBUG)
        listener = Alerts(services([server.url, "json://canary-user:canary+pass%2Fword@127.0.0.1:9/canary-path-token"],
                                   "V"), EVERYTHING, redactor)  # fmt: skip
        listener("halt", {"reason": "x"})
        server.refused.get(timeout=60)
        listener.close(patience=10)
    server.close()
    assert "do not arrive" in (tmp_path / "serve.log").read_text()
    seen.assert_unseen(tmp_path, dict(zip(("out", "err"), capfd.readouterr(), strict=True)))


# The line about the score


def test_the_score_is_told_at_most_so_often_and_shows_where_it_went(receiver):
    clock = FastClock()
    settings = Notify(events=[], score=True, score_every=60)
    listener = alerts(receiver, settings, bands=Bands(0.6, -0.6), monotonic=clock.monotonic)
    for now, score in ((0, 0.1), (30, 0.9), (60, 0.45), (120, 0.7), (180, float("nan")), (240, -0.3)):
        clock.now = now
        listener("bar", {"symbol": "BTCUSDT", "price": 60518.12, "score": score})
    listener.close(patience=60)
    # The second line says how late it is, by this clock.
    assert [receiver.next().splitlines()[0] for _ in range(4)] == [
        "📈 ₿ 60,518 Score: +0.10", "📈〉〉 ₿ 60,518 Score: +0.45 ↑", "📈〉〉〉 ₿ 60,518 Score: +0.70 ↑ BUY ZONE",
        "📉〉 ₿ 60,518 Score: -0.30 ↓",
    ]  # fmt: skip
    assert receiver.received.empty()


def test_a_score_without_thresholds_shows_its_sign_alone():
    assert score_message("ADAUSDT", 0.43215, -0.2, None, None).body == "📉 ADAUSDT 0.43215 Score: -0.20"


@given(st.floats(-1, 0.9), st.floats(0.01, 1), st.floats(-3, 3), st.floats(-3, 3))
def test_bands_grow_with_the_score_and_end_at_the_thresholds(sell, width, one, other):
    bands = Bands(sell + width, sell)
    low, high = sorted((one, other))
    assert bands.band(low) <= bands.band(high)
    assert (bands.band(one) == 3) == (one >= bands.buy) and (bands.band(one) == -3) == (one <= sell)
    assert abs(bands.band(one)) <= 3


# Texts


@pytest.mark.parametrize(
    ("event", "fields", "text"),
    [
        ("start", {"mode": "live", "bundle": "b1", "symbols": ["BTCUSDT", "ETHUSDT"]},
         "demo: started, live\nbundle b1, BTCUSDT, ETHUSDT"),
        ("signal", {"symbol": "BTCUSDT", "side": "buy", "score": 0.7, "price": 60518.12, "bar": "2024-01-31T12:00:00Z",
                    "ordered": False},
         "demo: BUY signal BTCUSDT\n₿ 60,518 Score: +0.70, not ordered, bar 2024-01-31 12:00"),
        ("order", {"symbol": "BTCUSDT", "side": "buy", "qty": "0.1", "price": "60000", "leg": "entry",
                   "client_order_id": "x"}, "demo: order: buy 0.1 BTCUSDT at 60,000\nentry, x"),
        ("trade", {"symbol": "BTCUSDT", "side": "long", "qty": 0.1, "entry_price": 60000.0, "exit_price": 60720.0,
                   "pnl": 72.0, "return": 0.012, "exit_reason": "take_profit", "bars_held": 12},
         "demo: ⚡💰 SOLD BTCUSDT +1.20%\n0.1 60,000 → 60,720, after 12 bars, take_profit, Profit: +72.00"),
        ("trade", {"symbol": "BTCUSDT", "side": "short", "qty": 0.1, "pnl": -3.0, "return": -0.001},
         "demo: ⚡💰 COVERED BTCUSDT -0.10%\n0.1, Profit: -3.00"),
        ("halt", {"code": "halted", "reason": "BTCUSDT: order 7 is not ours"},
         "demo: 🛑 BTCUSDT halted\norder 7 is not ours\nNothing is entered there; what is held stays protected.\n"
         "What to do: compare `pipeline status -c c.yaml` with the orders on the exchange, then "
         "`pipeline resume --symbol BTCUSDT -c c.yaml`."),
        ("breaker", {"breaker": "daily_loss", "reason": "-8.1 % since midnight"},
         "demo: 🛑 breaker daily_loss\n-8.1 % since midnight\nPositions are being closed, and nothing is entered any "
         "more.\nWhat to do: look at `pipeline status -c c.yaml`, then `pipeline reset-breaker daily_loss -c c.yaml`."),
        ("breaker", {"breaker": "kill_switch", "reason": "the file is there"},
         "demo: 🛑 breaker kill_switch\nthe file is there\nPositions are being closed, and nothing is entered any "
         "more.\nWhat to do: remove the file, then `pipeline reset-breaker kill_switch -c c.yaml`."),
        ("daily", {"bar": "2024-01-31T23:59:00Z", "equity": 10012.3, "pnl": 12.3, "trades": 4, "bundle": "b1"},
         "demo: 📅 2024-01-31 +12.30 (+0.12%)\nequity 10,012.30, trades 4, bundle b1"),
        ("error", {"symbol": "BTCUSDT", "reason": "Unclear: lost"},
         "demo: ⚠ error BTCUSDT\nUnclear: lost\nMore is in serve.log."),
        ("stop", {"reason": "SIGTERM"}, "demo: stopped\nSIGTERM"),
    ],
    ids=lambda value: value if isinstance(value, str) and "\n" not in value else "",
)  # fmt: skip
def test_a_message_reads_like_this(event, fields, text):
    made = message(event, fields, "demo", "-c c.yaml")
    assert f"{made.title}\n{made.body}" == text
    assert made.urgent == (event in ("halt", "breaker", "error", "stop"))


@pytest.mark.parametrize(
    "event", ["start", "signal", "order", "fill", "trade", "halt", "breaker", "daily", "error", "x"]
)
def test_no_event_needs_any_field(event):
    assert message(event, {}).title


@pytest.mark.parametrize(
    ("value", "text"),
    [("60518.120", "60,518.120"), ("-0.5", "-0.5"), ("1234567", "1,234,567"), ("1E+3", "1E+3"), ("", ""), (0.1, "0.1"),
     (60518.12, "60,518"), (123.456, "123.46"), (1.23456, "1.2346"), (0.00001234, "0.00001234"), (float("nan"), "nan"),
     (5, "5")],
)  # fmt: skip
def test_numbers_read_well_and_exact_ones_keep_their_digits(value, text):
    assert number(value) == text


# The outbox


def drained(outbox: Outbox, now: float) -> list[str]:
    bodies = []
    while (due := outbox.due(now)) is not None and due <= now:
        bodies.append(outbox.next(now).body)
        outbox.sent(now, outbox.left_out)
    return bodies


def test_a_fifth_of_the_hour_is_kept_for_what_is_urgent():
    outbox = Outbox(per_hour=10)
    taken = [outbox.put(Message("", f"{n}"), 0.0) for n in range(10)]
    urgent = [outbox.put(Message("", "!", urgent=True), 0.0) for _ in range(4)]
    assert (sum(taken), sum(urgent), outbox.left_out) == (8, 2, 4)


def test_what_was_left_out_is_told_with_the_next_message():
    outbox = Outbox(per_hour=1)
    for n in range(3):
        outbox.put(Message("", f"{n}"), 0.0)
    assert drained(outbox, 0.0) == ["0\n(2 more were left out)"]
    assert outbox.left_out == 0 and outbox.due(0.0) is None


def test_what_was_left_out_is_told_by_itself_when_the_hour_is_over():
    outbox = Outbox(per_hour=1)
    outbox.put(Message("", "first"), 0.0)
    assert drained(outbox, 0.0) == ["first"]
    for _ in range(3):
        assert not outbox.put(Message("", "more"), 10.0)
    assert outbox.due(10.0) == 3600.0
    assert drained(outbox, 3600.0) == ["3 messages were left out; see serve.log"]
    assert not outbox.put(Message("", "more"), 3601.0)


def test_pauses_grow_while_a_service_is_down_and_end_when_it_is_back():
    outbox, now, pauses = Outbox(per_hour=60), 0.0, []
    outbox.put(Message("", "x"), now)
    for _ in range(9):
        outbox.next(now)
        outbox.failed(now)
        pauses.append(outbox.due(now) - now)
        now += pauses[-1]
    assert pauses == [2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert drained(outbox, now) == ["x\n(14 min ago)"]
    outbox.put(Message("", "y"), now)
    assert outbox.due(now) == now


def test_a_message_that_is_refused_for_ever_does_not_hold_up_the_next_one():
    outbox, now = Outbox(per_hour=60), 0.0
    for body in ("refused", "fine"):
        outbox.put(Message("", body), now)
    for _ in range(MOST_TRIES):
        assert outbox.next(now).body.startswith("refused")
        outbox.failed(now)
        now += 1000
    assert outbox.next(now).body.splitlines()[0::2] == ["fine", "(1 more was left out)"]


def test_a_message_that_comes_while_the_count_is_sent_is_not_lost():
    outbox = Outbox(per_hour=1)
    outbox.left_out = 5
    assert outbox.next(0.0).body.startswith("5 messages")
    outbox.put(Message("", "new"), 0.0)
    outbox.sent(0.0, 5)
    assert drained(outbox, 0.0) == ["new"]


def test_what_is_urgent_overtakes_but_not_what_is_being_sent():
    outbox = Outbox(per_hour=100)
    for body, urgent in (("a", False), ("b", False)):
        outbox.put(Message("", body, urgent=urgent), 0.0)
    assert outbox.next(0.0).body == "a"
    for body, urgent in (("!1", True), ("c", False), ("!2", True)):
        outbox.put(Message("", body, urgent=urgent), 0.0)
    outbox.sent(0.0, 0)
    assert drained(outbox, 0.0) == ["!1", "!2", "b", "c"]


@given(st.lists(st.tuples(st.sampled_from("pPnsf"), st.floats(0, 2000)), max_size=400), st.integers(1, 20))
def test_nothing_is_lost_unseen_and_no_hour_has_too_many(steps, per_hour):
    outbox, now, made, arrived, told, times = Outbox(per_hour), 0.0, 0, 0, 0, []
    for step, pause in steps:
        now += pause
        if step in "pP":
            made += 1
            outbox.put(Message("", str(made), urgent=step == "P"), now)
        elif (due := outbox.due(now)) is not None and due <= now:
            was, left = len(outbox), outbox.left_out
            outbox.next(now)
            if step == "f":
                outbox.failed(now)
                continue
            outbox.sent(now, left)
            arrived, told = arrived + (was > 0), told + left
        times = [*times, *([now] if step in "pP" else [])]
        assert made == arrived + told + outbox.left_out + len(outbox)
        assert len(outbox) <= MOST_WAITING
        assert len(outbox._taken) <= per_hour


def test_waiting_messages_are_bounded_and_urgent_ones_find_room():
    outbox = Outbox(per_hour=10_000)
    for n in range(MOST_WAITING + 5):
        outbox.put(Message("", f"{n}"), 0.0)
    assert (len(outbox), outbox.left_out) == (MOST_WAITING, 5)
    assert outbox.put(Message("", "!", urgent=True), 0.0)
    assert (len(outbox), outbox.left_out) == (MOST_WAITING, 6)
    assert drained(outbox, 0.0)[0] == "!\n(6 more were left out)"


def test_what_is_being_sent_keeps_its_place_when_all_others_are_urgent():
    outbox = Outbox(per_hour=10_000)
    outbox.put(Message("", "on its way"), 0.0)
    outbox.next(0.0)
    for n in range(MOST_WAITING - 1):
        outbox.put(Message("", f"{n}", urgent=True), 0.0)
    assert not outbox.put(Message("", "one too many", urgent=True), 0.0)
    outbox.sent(0.0, 0)
    assert drained(outbox, 0.0)[0] == "0\n(1 more was left out)"
