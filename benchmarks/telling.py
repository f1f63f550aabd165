"""What it costs the trader to say something: a line of the log with its secrets taken out, and a message queued.

The peer of the line is `logging` with a formatter that makes the same JSON and looks for no secrets.
"""

import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from measure import report

from pipeline.config.serve import Log, Notify
from pipeline.live.alerts import Alerts
from pipeline.live.logs import ServeLog, utc_text
from pipeline.live.redaction import Redactor

CALLS = 5000
SECRETS = [
    "K" + "k" * 63,
    "S" + "s" * 63,
    "tgram://123456789:" + "A" * 35 + "/-100123456",
    "postgresql://t:passw0rd@db/x",
]
FIELDS = {
    "bundle": "20240131T0205-3f9ac2d1e0b4", "bar": "2024-01-31T12:00Z", "symbol": "BTCUSDT",
    "client_order_id": "3f9ac2d1e0b4-BTCUSDT-entry-1", "side": "BUY", "qty": "0.01234", "price": "60518.12",
    "score": 0.712,
}  # fmt: skip


def median_us(functions: list[Callable[[], object]]) -> list[float]:
    """Microseconds of each at the median, called in turn."""
    taken: list[list[float]] = [[] for _ in functions]
    for _ in range(CALLS):
        for times, function in zip(taken, functions, strict=True):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    return [sorted(times)[CALLS // 2] * 1e6 for times in taken]


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": utc_text(int(record.created * 1000)), "level": record.levelname.lower(), "event": record.msg}
        return json.dumps({**line, **record.__dict__["fields"]}, separators=(",", ":"))


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = ServeLog(folder / "serve.log", Log(), lambda: 1_706_702_400_000, Redactor(SECRETS))
        peer = logging.Logger("peer")
        handler = logging.FileHandler(folder / "peer.log")
        handler.setFormatter(_Json())
        peer.addHandler(handler)
        line, plain, quiet = median_us([
            lambda: log("fill", FIELDS), lambda: peer.info("fill", extra={"fields": FIELDS}),
            lambda: log("bar", FIELDS),
        ])  # fmt: skip
        log.close()
        handler.close()
    alerts = Alerts({"nobody": lambda one: True}, Notify(per_hour=1_000_000), Redactor(SECRETS), "demo")
    (queued,) = median_us([lambda: alerts("fill", FIELDS)])
    alerts.close()
    met = report("a line of the log, without secrets", line, plain, 2.0, unit="µs", of="logging, JSON, no redaction")
    print(f"{'an event below the level of the log':<44} ours {quiet:.2g} µs")
    print(f"{'a message queued for a service':<44} ours {queued:.3g} µs")
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
