"""The bulk archive: zipped CSV files by month and by day, each with its SHA-256 beside it.

Layout and quirks: https://github.com/binance/binance-public-data. A file that is not there yet, or never
was, is 404. Files are published again when Binance mends them, with a new checksum.
"""

import hashlib
import re
import time
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import requests
from requests.adapters import HTTPAdapter

from pipeline.artifacts import sha256_file
from pipeline.config.sources import BinanceSource, FileSource
from pipeline.errors import BadInput, ExchangeError, StorageError
from pipeline.market import files, marks
from pipeline.market.network import backoff_seconds, cause, is_loopback, retry_after

_CHUNK = 1 << 16
_FOLDER = {"spot": "spot", "um": "futures/um"}


class Archive:
    """Files of one market in an archive at an http(s):// or file:// address.

    folder: where partial downloads wait to be resumed.
    """

    def __init__(self, options: BinanceSource, market: str, folder: Path) -> None:
        self.base = options.archive_url.rstrip("/")
        self.market = market
        self.folder = folder
        self.timeout = options.timeout
        self.retries = options.retries
        self.session = requests.Session()
        # The environment's proxy cannot reach this machine's own servers.
        self.session.trust_env = not is_loopback(self.base)
        adapter = HTTPAdapter(pool_maxsize=options.parallel)
        self.session.mount("https://", adapter)
        self.session.mount("http://", adapter)

    def url(self, symbol: str, interval: str, period: str) -> str:
        """Address of a month's (`2024-01`) or a day's (`2024-01-31`) file; interval "funding" for funding rates,
        `marks.series_of` for the mark price."""
        root = f"{self.base}/data/{_FOLDER[self.market]}/{'monthly' if len(period) == 7 else 'daily'}"
        if interval == "funding":
            return f"{root}/fundingRate/{symbol}/{symbol}-fundingRate-{period}.zip"
        kind, interval = "markPriceKlines" if marks.is_mark(interval) else "klines", marks.interval_of(interval)
        return f"{root}/{kind}/{symbol}/{interval}/{symbol}-{interval}-{period}.zip"

    def bars(self, symbol: str, interval: str, period: str, *, snap: bool = False) -> tuple[pa.Table, str] | None:
        """Clean bars of a file and its SHA-256; None if there is no such file. Of the mark price: `marks.SCHEMA`.

        Raises BadInput: the file does not match its checksum, twice, or its rows are bad.
        ExchangeError: the archive cannot be reached.
        """
        url, step = self.url(symbol, interval, period), marks.interval_of(interval)

        def parse(path: Path) -> pa.Table:
            table = files.read(FileSource(path=str(path)), "csv", symbol, step, 0, 1 << 62, snap=snap)
            return marks.of_klines(table, url) if marks.is_mark(interval) else table

        return self._read(url, parse)

    def funding(self, symbol: str, period: str) -> tuple[pa.Table, str] | None:
        """`calc_time` (ms) and `last_funding_rate` of a month's file, and its SHA-256; None if there is none."""
        return self._read(self.url(symbol, "funding", period), _funding_rows)

    def checksum(self, url: str) -> str | None:
        """The SHA-256 that the archive publishes for a file; None if it publishes none."""
        target = self.folder / f"{_local_name(url)}.CHECKSUM.part"
        target.unlink(missing_ok=True)
        try:
            if not self._get(f"{url}.CHECKSUM", target):
                return None
            text = target.read_text(encoding="utf-8", errors="replace")
        finally:
            target.unlink(missing_ok=True)
        match = re.match(r"\s*([0-9a-fA-F]{64})\b", text)
        if not match:
            raise BadInput(
                f"{url}.CHECKSUM: holds no SHA-256, but {text[:60]!r}", "is download.binance.archive_url right?"
            )
        return match[1].lower()

    def _read(self, url: str, parse: Callable[[Path], pa.Table]) -> tuple[pa.Table, str] | None:
        path = self.folder / _local_name(url)
        if not self._fetch_verified(url, path):
            return None
        try:
            return parse(path), sha256_file(path)
        except BadInput as error:
            raise BadInput(error.message.replace(str(path), url), error.hint) from None
        finally:
            path.unlink(missing_ok=True)

    def _fetch_verified(self, url: str, path: Path) -> bool:
        """Download a file to `path` and compare its checksum; False if there is no such file."""
        part = path.with_name(f"{path.name}.part")
        found = ""
        for _ in range(2):
            if not self._get(url, part):
                part.unlink(missing_ok=True)
                return False
            expected, found = self.checksum(url), sha256_file(part)
            if expected is None or expected == found:
                part.replace(path)
                return True
            # Perhaps published anew between our two requests, or resumed from an older version.
            part.unlink()
        raise BadInput(
            f"{url}: SHA-256 is {found}, but its .CHECKSUM says {expected}, after a second download as well",
            "the archive's file is damaged: try later, or leave that range out",
        )

    def _get(self, url: str, part: Path) -> bool:
        """The file at `url` in `part`, going on where an earlier try was cut off; False if it is not there."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if url.startswith("file:"):
                return _copy(url, part)
            reason = ""
            for attempt in range(self.retries + 1):
                try:
                    outcome, wait = self._try(url, part)
                    if outcome in ("done", "absent"):
                        return outcome == "done"
                    reason = outcome
                except requests.RequestException as error:
                    reason, wait = cause(error), None
                if attempt < self.retries:
                    time.sleep(backoff_seconds(attempt) if wait is None else wait)
        except OSError as error:
            raise StorageError(f"{part}: cannot be written: {error.strerror}") from error
        raise ExchangeError(
            f"{url}: cannot be fetched: {reason}",
            "check the network and download.binance.archive_url; what has come so far is kept, run it again",
        )

    def _try(self, url: str, part: Path) -> tuple[str, float | None]:
        """One request. Returns "done", "absent", or why to try again, and how long to wait at least."""
        have = part.stat().st_size if part.is_file() else 0
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with self.session.get(url, headers=headers, timeout=self.timeout, stream=True) as response:
            status = response.status_code
            if status == 404:
                return "absent", None
            if status == 416:
                # Nothing after what we have: either it is whole, or it is of another version.
                if response.headers.get("Content-Range", "").endswith(f"/{have}"):
                    return "done", None
                part.unlink(missing_ok=True)
                return "the partial file does not fit", 0.0
            if status in (418, 429):
                wait = retry_after(response.headers.get("Retry-After"), url)
                return f"HTTP {status}: too many requests", wait
            if status >= 500:
                return f"HTTP {status}", None
            if status not in (200, 206):
                raise ExchangeError(
                    f"{url}: HTTP {status} {response.reason}",
                    "is download.binance.archive_url right, and allowed here?",
                )
            with part.open("ab" if status == 206 else "wb") as file:
                for chunk in response.iter_content(_CHUNK):
                    file.write(chunk)
        return "done", None


def _copy(url: str, part: Path) -> bool:
    path = Path(urllib.request.url2pathname(urllib.parse.urlsplit(url).path))
    if not path.is_file():
        return False
    part.write_bytes(path.read_bytes())
    return True


def _local_name(url: str) -> str:
    # Daily and monthly files of all markets wait in one folder.
    return f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{url.rpartition('/')[2]}"


def _funding_rows(path: Path) -> pa.Table:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as file:
            table = pa_csv.read_csv(file)
        return table.select(["calc_time", "last_funding_rate"])
    except (KeyError, IndexError, zipfile.BadZipFile, pa.ArrowException) as error:
        raise BadInput(f"{path}: not a file of funding rates: {error}", "is the archive's layout new?") from None
