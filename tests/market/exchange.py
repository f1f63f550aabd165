"""A small Binance on loopback: an archive of zips with checksums, klines and funding over REST, and faults."""

import contextlib
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

MINUTE, DAY = 60_000, 86_400_000


class Exchange(ThreadingHTTPServer):
    """files: path → bytes. faults: path → what to do instead, first come first: "500", "429", "truncate", "html".

    Bars are a function of the time alone, so archive and REST agree unless a test bends `price`.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.now_ms = 0
        self.listed_ms = 0
        self.symbols = {"BTCUSDT"}
        self.missing: set[int] = set()
        # Whether it publishes a mark price.
        self.marks = True
        self.price = 100.0
        self.weight = 1

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def paths(self) -> list[str]:
        return [urlsplit(path).path for path, _ in self.requests]

    def row(self, open_ms: int, step: int = MINUTE) -> list[object]:
        o = self.price + open_ms // step % 7
        values = [f"{v:.8f}" for v in (o, o + 1, o - 1, o + 0.5, 10, 10 * o)]
        o_, h, low, c, v, q = values
        return [open_ms, o_, h, low, c, v, open_ms + step - 1, q, 5, "4.00000000", f"{4 * o:.8f}", "0"]

    def mark_row(self, open_ms: int, step: int = MINUTE) -> list[object]:
        """The mark price: calmer than the last one, without volume."""
        o = self.price + open_ms // step % 7
        prices = [f"{v:.8f}" for v in (o + 0.1, o + 0.6, o - 0.2, o + 0.4)]
        return [open_ms, *prices, "0", open_ms + step - 1, "0", 60, "0", "0", "0"]

    def publish_marks(self, period: str, start: int, end: int, header: bool = True, symbol: str = "BTCUSDT") -> str:
        """Put the mark price of [start, end) into the archive as the file of a month or a day; its path."""
        names = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume"
        lines = [names + ",taker_buy_quote_volume,ignore"] if header else []
        lines += [",".join(map(str, self.mark_row(t))) for t in range(start, end, MINUTE) if t not in self.missing]
        kind = "monthly" if len(period) == 7 else "daily"
        path = f"/data/futures/um/{kind}/markPriceKlines/{symbol}/1m/{symbol}-1m-{period}.zip"
        return self.put(path, "\n".join(lines).encode() + b"\n")

    def publish(self, period: str, start: int, end: int, symbol: str = "BTCUSDT", micro: bool = False) -> str:
        """Put bars of [start, end) into the archive as the file of a month or a day; its path."""
        lines = []
        for t in range(start, end, MINUTE):
            if t not in self.missing:
                row = self.row(t)
                if micro:
                    row[0], row[6] = t * 1000, (t + MINUTE) * 1000 - 1
                lines.append(",".join(map(str, row)))
        kind = "monthly" if len(period) == 7 else "daily"
        return self.put(
            f"/data/spot/{kind}/klines/{symbol}/1m/{symbol}-1m-{period}.zip", "\n".join(lines).encode() + b"\n"
        )

    def put(self, path: str, text: bytes) -> str:
        stem = path.rpartition("/")[2].removesuffix(".zip")
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo(f"{stem}.csv"), text)
        self.files[path] = buffer.getvalue()
        self.files[f"{path}.CHECKSUM"] = f"{hashlib.sha256(buffer.getvalue()).hexdigest()}  {stem}.zip\n".encode()
        return path

    def serve_tree(self, folder: Path) -> None:
        """Serve the files below `folder`."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.files["/" + path.relative_to(folder).as_posix()] = path.read_bytes()


@contextlib.contextmanager
def running() -> Iterator[Exchange]:
    with Exchange() as exchange:
        thread = threading.Thread(target=exchange.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield exchange
        finally:
            exchange.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Exchange
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.server.requests.append((self.path, dict(self.headers)))
        waiting = self.server.faults.get(parts.path)
        fault = waiting.pop(0) if waiting else ""
        if fault == "429":
            return self._reply(429, b'{"code":-1003,"msg":"Too many requests"}', {"Retry-After": "7"})
        if fault == "500":
            return self._reply(500, b"oops")
        if fault == "html":
            return self._reply(200, b"<html>maintenance</html>")
        if parts.path.startswith(("/api/", "/fapi/")):
            return self._rest(parts.path, {k: v[0] for k, v in parse_qs(parts.query).items()})
        return self._file(parts.path, fault)

    def _file(self, path: str, fault: str) -> None:
        content = self.server.files.get(path)
        if content is None:
            return self._reply(404, b"")
        start = 0
        headers = {}
        status = 200
        if wanted := self.headers.get("Range"):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                return self._reply(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            status = 206
        body = content[start:]
        if fault == "truncate":
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return None
        return self._reply(status, body, headers)

    def _rest(self, path: str, query: dict[str, str]) -> None:
        server = self.server
        headers = {"x-mbx-used-weight-1m": str(server.weight)}
        if path.endswith("/time"):
            return self._json({"serverTime": server.now_ms}, headers)
        if query["symbol"] not in server.symbols:
            return self._reply(400, b'{"code":-1121,"msg":"Invalid symbol."}')
        limit = int(query.get("limit", 500))
        first = max(int(query.get("startTime", 0)), server.listed_ms)
        last = min(int(query.get("endTime", server.now_ms)), server.now_ms)
        if path.endswith("/fundingRate"):
            every = 8 * 3_600_000
            stamps = range(-(-first // every) * every, last + 1, every)[:limit]
            rows = [
                {"symbol": query["symbol"], "fundingTime": t + t // DAY % 3, "fundingRate": "0.0001"} for t in stamps
            ]
            return self._json(rows, headers)
        times = (t for t in range(-(-first // MINUTE) * MINUTE, last + 1, MINUTE) if t not in server.missing)
        # The bar that has not closed yet is among them, as on the real exchange.
        row = server.row
        if path.endswith("/markPriceKlines"):
            row = server.mark_row
            times = times if server.marks else iter(())
        return self._json([row(t) for t, _ in zip(times, range(limit), strict=False)], headers)

    def _json(self, value: object, headers: dict[str, str]) -> None:
        self._reply(200, json.dumps(value).encode(), headers)

    def _reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
