"""The log says what happened, one JSON object a line, and never a secret."""

import base64
import json
import logging
import subprocess
import sys
import threading
import urllib.parse
import warnings
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from live import canaries
from live.canaries import Canaries
from pydantic import SecretStr

from pipeline.config.serve import Log as Settings
from pipeline.errors import ExchangeError, StorageError
from pipeline.live.logs import ServeLog, utc_text
from pipeline.live.redaction import LONGEST, MASK, Redactor, environment_secrets
from pipeline.live.telling import FanOut

NOW = 1_700_000_000_123
KNOWN = [*environment_secrets(canaries.environment()), canaries.PASSWORD]


def opened(folder: Path, **settings: object) -> ServeLog:
    return ServeLog(folder / "serve.log", Settings(**settings), lambda: NOW, Redactor(KNOWN))  # type: ignore[arg-type]


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "serve.log").read_text(encoding="utf-8").splitlines()]


def test_a_line_holds_time_level_event_and_all_fields(tmp_path):
    log = opened(tmp_path)
    log("start", {"name": "demo", "mode": "live", "bundle": "b1", "capital": None})
    log("fill", {"symbol": "BTCUSDT", "client_order_id": "x-1", "bar": "2023-11-14T22:13Z", "qty": Decimal("0.10"),
                 "score": np.float32(0.5), "price": float("nan"), "n": np.int64(3), "event": "mine"})  # fmt: skip
    start, fill = lines(tmp_path)
    assert start["time"] == "2023-11-14T22:13:20.123Z" and start["level"] == "info" and start["capital"] is None
    assert list(fill)[:7] == ["time", "level", "event", "name", "mode", "bundle", "bar"]
    assert fill["bundle"] == "b1" and fill["client_order_id"] == "x-1"
    assert (fill["qty"], fill["score"], fill["price"], fill["n"]) == ("0.10", 0.5, "nan", 3)
    assert fill["event"] == "fill" and fill["event_"] == "mine"


def test_a_new_bundle_is_named_from_then_on(tmp_path):
    log = opened(tmp_path)
    for event, fields in (("start", {"bundle": "b1"}), ("bundle", {"bundle": "b2", "before": "b1"}), ("fill", {})):
        log(event, fields)
    assert [line["bundle"] for line in lines(tmp_path)] == ["b1", "b2", "b2"]


@pytest.mark.parametrize(("level", "heard"), [("debug", 3), ("info", 2), ("warning", 1), ("error", 0)])
def test_quieter_events_are_left_out(tmp_path, level, heard):
    log = opened(tmp_path, level=level)
    for event in ("bar", "fill", "halt"):
        log(event, {})
    assert len(lines(tmp_path)) == heard


def test_a_caller_may_say_how_loud_an_event_is(tmp_path):
    opened(tmp_path)("exchange", {"level": "error", "reason": "x"})
    (line,) = lines(tmp_path)
    assert line["level"] == "error" and list(line) == ["time", "level", "event", "reason"]


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_files_are_rotated_by_size_and_old_ones_removed(tmp_path, keep):
    log = opened(tmp_path, max_mb=0.001, keep=keep)
    for number in range(100):
        log("fill", {"number": number, "text": "x" * 100})
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["serve.log", *(f"serve.log.{n}" for n in range(1, keep + 1))]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    newest = [json.loads(line)["number"] for line in (tmp_path / "serve.log").read_text().splitlines()]
    assert newest and newest[-1] == 99


def test_half_a_character_is_written_as_its_code(tmp_path):
    opened(tmp_path)("command", {"args": {"reason": "\ud800 ü"}})
    assert lines(tmp_path)[0]["args"] == {"reason": "\ud800 ü"}


def test_a_new_start_adds_to_the_file(tmp_path):
    for _ in range(2):
        log = opened(tmp_path)
        log("start", {})
        log.close()
    assert len(lines(tmp_path)) == 2


def test_a_disk_that_takes_nothing_does_not_stop_trading_and_is_said_once(tmp_path, capfd):
    tell = FanOut(log := opened(tmp_path, max_mb=50))
    log._file.stream.close()
    log._file.stream = Path("/dev/full").open("w", buffering=1)  # noqa: SIM115
    tell("fill", reason=canaries.SECRET)
    tell("fill", reason=canaries.SECRET)
    said = capfd.readouterr().err
    assert log.lost == 2
    assert said.count("cannot be written") == 1 and canaries.SECRET not in said


def test_a_file_that_cannot_be_opened_is_one_clear_error(tmp_path):
    (tmp_path / "serve.log").mkdir()
    with pytest.raises(StorageError, match=r"serve\.log: cannot be written"):
        opened(tmp_path)


# Secrets


def poisoned() -> list[object]:
    """Ways in which a secret gets into a field."""
    key, secret, password = canaries.KEY, canaries.SECRET, canaries.PASSWORD
    query = urllib.parse.urlencode({"symbol": "BTCUSDT", "signature": secret, "x": password})
    return [
        key,
        f"https://api.binance.com/api/v3/order?{query}",
        {"headers": {"X-MBX-APIKEY": key}, "deep": [{"also": (secret,)}]},
        {secret: 1},
        ValueError(f"bad reply from https://x/?signature={secret}"),
        b"raw " + secret.encode(),
        base64.b64encode(f"{key}:{secret}".encode()).decode(),
        base64.urlsafe_b64encode(f"a:{password}".encode()).decode(),
        f"Authorization: Basic {base64.b64encode(f'u:{password}'.encode()).decode()}",
        f"postgresql://trader:{urllib.parse.quote(password, safe='')}@db/x",
        json.dumps({"password": password}),
        repr({"p": password}),
        secret.encode().hex(),
        canaries.TELEGRAM,
        canaries.WEBHOOK,
        "https://api.telegram.org/bot1234509876:cAnArY-bot-token_0000000000000000000000/sendMessage",
    ]


@pytest.mark.parametrize("value", poisoned(), ids=lambda value: f"{type(value).__name__} {str(value)[:30]}")
def test_no_form_of_a_known_secret_reaches_the_file(tmp_path, value):
    log = opened(tmp_path, level="debug")
    log("error", {"reason": value, "note": f"before {value} after"})
    Canaries().assert_unseen(tmp_path)
    assert MASK in (tmp_path / "serve.log").read_text()


def test_an_exception_is_written_with_its_traceback_and_without_secrets(tmp_path):
    log = opened(tmp_path)
    try:
        raise RuntimeError(f"GET https://x/?signature={canaries.SECRET}&y=1")
    except RuntimeError as error:
        log("error", {"reason": error, "error": error})
        with log.hearing_libraries():
            logging.getLogger("binance.something").exception("failed with key %s", canaries.KEY)
    first, second = lines(tmp_path)
    assert first["reason"] == f"RuntimeError: GET https://x/?signature={MASK}&y=1"
    assert second["said"] == f"failed with key {MASK}" and second["logger"] == "binance.something"
    assert "Traceback" in second["exception"] and f"signature={MASK}" in second["exception"]
    Canaries().assert_unseen(tmp_path)


def test_what_libraries_say_is_heard_only_meanwhile_and_only_when_it_matters(tmp_path):
    log, names = opened(tmp_path), ("binance", "aiohttp.client", "websockets.client", "asyncio", "apprise", "other")
    before = logging.getLogger().handlers[:], logging.getLogger().level, sys.excepthook
    with log.hearing_libraries():
        for name in names:
            logging.getLogger(name).info("chatter %s", canaries.KEY)
            logging.getLogger(name).warning("trouble %s", canaries.KEY)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn(f"old {canaries.SECRET}", UserWarning, stacklevel=1)
    assert (logging.getLogger().handlers, logging.getLogger().level, sys.excepthook) == before
    heard = lines(tmp_path)
    assert [line.get("logger") for line in heard] == [*names, "py.warnings"]
    assert {line["event"] for line in heard} == {"library"} and heard[0]["said"] == f"trouble {MASK}"
    Canaries().assert_unseen(tmp_path)


DUMP = """
import os, resource, sys
from pathlib import Path
from pipeline.config.serve import Log
from pipeline.live.logs import ServeLog
from pipeline.live.redaction import Redactor
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
with ServeLog(Path(sys.argv[1]), Log(), lambda: 0, Redactor()).hearing_libraries():
    print(resource.getrlimit(resource.RLIMIT_CORE)[0], flush=True)
print(resource.getrlimit(resource.RLIMIT_CORE)[0] == hard, flush=True)
"""


def test_a_crash_of_the_interpreter_leaves_no_image_of_its_memory(tmp_path):
    command = [sys.executable, "-c", DUMP, str(tmp_path / "serve.log")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout == "0\nTrue\n"


CRASH = """
import asyncio, logging, sys, threading
from pathlib import Path
from live import canaries
from pipeline.config.serve import Log
from pipeline.live.logs import ServeLog
from pipeline.live.redaction import Redactor
log = ServeLog(Path(sys.argv[1]), Log(), lambda: 0, Redactor([canaries.SECRET, canaries.KEY]))
def fail(): raise RuntimeError("thread " + canaries.KEY)
async def lost(): raise RuntimeError("task " + canaries.SECRET)
async def main():
    with log.hearing_libraries():
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
        log("start", {"name": "demo"})
        tasks.append(asyncio.ensure_future(lost()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        raise RuntimeError("main " + canaries.SECRET)
tasks = []
try:
    asyncio.run(main())
finally:
    tasks.clear()
"""


def test_a_crash_is_in_the_log_and_on_standard_error_without_secrets(tmp_path):
    command = [sys.executable, "-c", CRASH, str(tmp_path / "serve.log")]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PYTHONPATH": f"{root}:{root / 'tests'}"}
    )
    assert done.returncode == 1
    assert f"RuntimeError: main {MASK}" in done.stderr and f"RuntimeError: task {MASK}" in done.stderr
    assert [line["event"] for line in lines(tmp_path)] == ["crash", "start", "crash"]
    assert f"thread {MASK}" in lines(tmp_path)[0]["exception"]
    Canaries().assert_unseen(tmp_path, {"out": done.stdout, "err": done.stderr})


def test_an_error_that_is_shown_to_the_user_loses_its_secrets_on_the_way(tmp_path):
    with pytest.raises(ExchangeError) as error, opened(tmp_path).hearing_libraries():
        raise ExchangeError(f"GET https://x/?signature={canaries.SECRET}: refused", f"is {canaries.KEY} right?")
    assert str(error.value) == f"GET https://x/?signature={MASK}: refused\n       is {MASK} right?"


@pytest.mark.parametrize(
    "text",
    [
        "https://user:hunter2hunter2@host/x",
        "https://api.binance.com/api/v3/account?timestamp=1&signature=5f3d0cafe5f3d0cafe&x=1",
        "{'X-MBX-APIKEY': 'unknownUnknown1'}",
        '{"apiKey":"unknownUnknown1","symbol":"BTCUSDT"}',
        "listenKey=abcdefabcdef",
        "secret: hush-hush",
        "https://api.telegram.org/bot123456789:AAF-unknown_unknown_unknown_unknown/getMe",
        "tgram://123456789:AAF-unknown_unknown_unknown/-100123",
        "GET /bot12345:AAF-unknown_unknown/getMe",
        "Authorization: Bearer abcdefghijkl",
        "the key vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A was refused",
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END PRIVATE KEY-----",
    ],
)
def test_what_looks_like_a_secret_is_taken_out_though_nobody_named_it(text):
    clean = Redactor().text(text)
    assert MASK in clean and not Redactor().is_clean(text)
    for hidden in ("hunter2", "5f3d0cafe", "unknown", "abcdef", "hush", "vmPUZE", "MC4C", "-100123"):
        assert hidden not in clean


def test_what_is_no_secret_stays_as_it_is():
    for text in (
        "BTCUSDT 0.5 at 60518.12",
        "config 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "https://api.binance.com/api/v3/klines?symbol=BTCUSDT&interval=1m",
        "order x-9_AZ-09 of bundle 20240131-ab12 is NEW",
    ):
        assert Redactor(KNOWN).text(text) == text


def test_fields_named_like_secrets_are_masked_whatever_they_hold():
    told = {"api_key": "k", "token": 5, "signature": b"x", "password": "", "secret": None, "symbol": "BTCUSDT"}
    assert Redactor().value(told) == {
        "api_key": MASK, "token": MASK, "signature": MASK, "password": "", "secret": None, "symbol": "BTCUSDT"
    }  # fmt: skip


def test_a_secret_type_and_a_long_text_are_told_of_briefly():
    assert "hush" not in Redactor().value(SecretStr("hush-hush"))
    assert len(Redactor().text("x" * (LONGEST + 5))) < LONGEST + 40


def test_a_secret_that_is_cut_by_the_length_limit_is_taken_out_first():
    assert canaries.KEY[:20] not in Redactor(KNOWN).text("x" * (LONGEST - 20) + canaries.KEY)


@given(st.text(min_size=4, max_size=40), st.text(max_size=20), st.text(max_size=20))
@example("pass/ word", "", "")
def test_no_known_secret_survives_in_any_form(secret, before, after):
    quoted = (urllib.parse.quote(secret), urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret))
    for form in (secret, *quoted, json.dumps(secret)[1:-1], repr(secret)[1:-1]):
        assume(form not in before + MASK + after)
        assert form not in Redactor([secret]).known(before + form + after)


def test_the_parts_of_an_address_are_secrets_each_and_its_host_is_not():
    redactor = Redactor([canaries.TELEGRAM, canaries.WEBHOOK, "https://hooks.example.com/services/T0123456/B9876543"])
    said = "chat -1009876500001: cAnArY-bot-token_0000000000000000000000; /canary-path-token; T0123456 B9876543"
    assert redactor.text(said) == f"chat {MASK}: {MASK}; /{MASK}; {MASK} {MASK}"
    assert redactor.text("hooks.example.com and 127.0.0.1 of services") == "hooks.example.com and 127.0.0.1 of services"


@given(st.text(min_size=8, max_size=40), st.binary(max_size=8), st.binary(max_size=8))
def test_base64_of_a_text_around_a_secret_loses_it(secret, before, after):
    code = base64.b64encode(before + secret.encode() + after).decode()
    assert MASK in Redactor([secret]).text(code)


def test_secrets_of_the_environment_are_known_by_the_names_of_their_variables():
    environment = {
        "PIPELINE_BINANCE_KEY": "k" * 8, "PIPELINE_LIVE_API_SECRET": "s" * 8, "PGPASSWORD": "p" * 8,
        "PIPELINE_NOTIFY": "tgram://a json://b", "MY_BOT": "m" * 8, "PIPELINE_REAL_DATA": "/data", "HOME": "/home/x",
        "PIPELINE_DESK_SEEDS": "60", "GITHUB_TOKEN": "g" * 8, "PIPELINE_TOKEN": "",
    }  # fmt: skip
    found = set(environment_secrets(environment, "MY_BOT"))
    assert found == {"k" * 8, "s" * 8, "p" * 8, "tgram://a json://b", "tgram://a", "json://b", "m" * 8, "g" * 8}


def test_a_token_made_later_is_taken_out_from_then_on():
    redactor = Redactor()
    redactor.add("later-made-value")
    assert redactor.text("x later-made-value y") == f"x {MASK} y"


def test_lines_of_several_threads_stay_whole(tmp_path):
    log = opened(tmp_path)
    threads = [threading.Thread(target=lambda: [log("fill", {"text": "x" * 500}) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(tmp_path)) == 200


def test_times_are_written_in_utc_with_milliseconds():
    assert utc_text(0) == "1970-01-01T00:00:00.000Z"
    assert utc_text(-1) == "1969-12-31T23:59:59.999Z"


@pytest.mark.parametrize("how", ["plain", "URL", "base64", "sqlite", "gzip", "parquet", "name"])
def test_the_search_for_canaries_finds_each_of_them(tmp_path, how):
    import gzip
    import sqlite3

    import pyarrow as pa
    import pyarrow.parquet as pq

    secret, path = canaries.PASSWORD, tmp_path / "file"
    if how == "sqlite":
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE t (x text)")
            db.execute("INSERT INTO t VALUES (?)", ("x" * 4000 + secret + "y" * 9000,))
    elif how == "parquet":
        pq.write_table(pa.table({"x": [secret]}), path, compression="zstd")
    elif how == "gzip":
        path.write_bytes(gzip.compress(secret.encode()))
    elif how == "name":
        (tmp_path / canaries.KEY).touch()
    else:
        forms = {"plain": secret, "URL": urllib.parse.quote(secret, safe=""),
                 "base64": base64.b64encode(f"ab{secret}c".encode()).decode()}  # fmt: skip
        path.write_text(forms[how], encoding="utf-8")
    with pytest.raises(AssertionError, match="secrets were written"):
        Canaries().assert_unseen(tmp_path)
    with pytest.raises(AssertionError, match="in captured"):
        Canaries().assert_unseen(None, {"captured": canaries.KEY})
