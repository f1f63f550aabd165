"""One run of a client against one local exchange: where it is, how its market is moved, and what came out.

A client's script is started as `python with_CLIENT.py FACE`, with the exchange's addresses in the environment, and
writes one line of JSON for each operation to standard output.
"""

import hashlib
import hmac
import json
import os
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

KEY, SECRET = "local-demo-key", "local-demo-secret"


class Absent(Exception):
    """The client has no such call."""


class Refused(Exception):
    """The exchange refused, as the client reports it. code: the exchange's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message


class Session:
    """The exchange that a script talks to, and the outcomes of its checks.

    url: of REST, without `/api`; streams: of the market streams, with a slash at its end; ws_api: of the WebSocket API.
    only: operations that are checked now, None for all.
    """

    def __init__(self) -> None:
        self.url = os.environ["EXCHANGE_URL"]
        self.streams = os.environ["EXCHANGE_STREAMS"]
        self.ws_api = os.environ["EXCHANGE_WS_API"]
        self.only: frozenset[str] | None = None
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def check(self, operation: str, function: Callable[[], Any]) -> None:
        """Run a check and write down what came out; afterwards no order is open."""
        if self.only is not None and operation not in self.only:
            return
        told = {"operation": operation, "outcome": "passed", "error": ""}
        try:
            function()
        except Absent:
            told["outcome"] = "absent"
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            told["outcome"] = "failed"
            told["error"] = (
                f"{type(error).__name__}: {str(error) or where.line}"[:300]
                + f" ({Path(where.filename).name}:{where.lineno})"
            )
            if os.environ.get("CONFORMANCE_DEBUG"):
                traceback.print_exc()
        print(json.dumps(told), flush=True)
        self.clear()

    def done(self) -> None:
        """Say that all checks were made."""
        print(json.dumps({"done": True}), flush=True)

    def step(self, bars: int = 1) -> None:
        """Move the market."""
        self._send("POST", "/_emu/step", json.dumps({"bars": bars}).encode())

    def state(self) -> Any:
        """What the exchange holds, from its own mouth."""
        return self._send("GET", "/_emu/state")

    def ask(self, path: str, **params: Any) -> Any:
        """A public request of our own, to compare with."""
        return self._send("GET", f"{path}?{urlencode(params)}")

    def now(self) -> int:
        """Time of the market, ms."""
        return int(self.state()["clock"]["market"])

    def balances(self) -> dict[str, float]:
        """Free and locked amounts by asset."""
        rows = self.state()["accounts"][0]["balances"]
        return {row["asset"]: float(row["free"]) + float(row["locked"]) for row in rows}

    def step_until(self, condition: Callable[[], bool], most: int = 600) -> None:
        """Move the market bar by bar until something holds. Raises AssertionError: it never does."""
        for _ in range(most):
            if condition():
                return
            self.step()
        raise AssertionError(f"did not happen within {most} bars")

    def clear(self) -> None:
        """Cancel what is open, by a request of our own."""
        for symbol in {order["symbol"] for order in self.state()["orders"]}:
            query = urlencode({"symbol": symbol, "timestamp": int(time.time() * 1000), "recvWindow": 60000})
            signature = hmac.new(SECRET.encode(), query.encode(), hashlib.sha256).hexdigest()
            self._send("DELETE", f"/api/v3/openOrders?{query}&signature={signature}")

    def _send(self, method: str, path: str, body: bytes | None = None) -> Any:
        headers = {"Content-Type": "application/json", "X-MBX-APIKEY": KEY}
        request = urllib.request.Request(self.url + path, data=body, headers=headers, method=method)
        with self._open(request, timeout=60) as reply:
            return json.loads(reply.read())
