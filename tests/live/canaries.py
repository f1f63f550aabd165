"""Secrets that are easy to recognise, and a search for them in all that a process has left behind."""

import base64
import gzip
import sqlite3
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Each looks like the real thing, and none of them opens anything.
KEY = "cAnArYk3y0000000000000000000000000000000000000000000000000000KEY"
SECRET = "cAnArYs3cr3t00000000000000000000000000000000000000000000000SECRET"
TELEGRAM = "tgram://1234509876:cAnArY-bot-token_0000000000000000000000/-1009876500001"
WEBHOOK = "json://canary-user:canary+pass%2Fword@127.0.0.1:9/canary-path-token"
PASSWORD = "canary p@ss/wörd&more"
# The least of a secret that must not be seen: the value, or a part of an address that is one.
VALUES = {
    "key": KEY,
    "secret": SECRET,
    "telegram": "cAnArY-bot-token_0000000000000000000000",
    "chat": "-1009876500001",
    "webhook password": "canary+pass/word",
    "webhook path": "canary-path-token",
    "password": PASSWORD,
}


def environment() -> dict[str, str]:
    """Environment variables with all canaries, as `serve` reads them."""
    return {
        "PIPELINE_BINANCE_KEY": KEY,
        "PIPELINE_BINANCE_SECRET": SECRET,
        "PIPELINE_NOTIFY": f"{TELEGRAM} {WEBHOOK}",
        "PGPASSWORD": PASSWORD,
    }


@dataclass
class Canaries:
    """What must appear nowhere, by a name for the message; `values` may be added to, as by the control token."""

    values: dict[str, str] = field(default_factory=lambda: dict(VALUES))

    def found(self, folder: Path | None, texts: Mapping[str, str | bytes], ignore: Iterable[str] = ()) -> list[str]:
        """Places where one was seen: `NAME (how it was written) in FILE`.

        folder: everything below it, also inside gzip, SQLite and Parquet files, and the names of the files. texts:
        captured output by name. ignore: names of files that may hold them, as control.json its token.
        """
        needles = [
            (f"{name} ({how})", form) for name, value in self.values.items() for how, form in forms(value.encode())
        ]
        seen = []
        for where, content in [*_files(folder, set(ignore)), *((name, _bytes(text)) for name, text in texts.items())]:
            seen += [f"{what} in {where}" for what, form in needles if form in content]
        return seen

    def assert_unseen(
        self, folder: Path | None, texts: Mapping[str, str | bytes] = {}, ignore: Iterable[str] = ()
    ) -> None:
        """Fails with the places where one was seen."""
        places = self.found(folder, texts, ignore)
        assert not places, "secrets were written: " + "; ".join(places[:10])


def forms(value: bytes) -> Iterator[tuple[str, bytes]]:
    """Ways to write a secret: plain, URL-encoded, in hexadecimal, in base64 wherever it begins, reversed it is not."""
    yield "plain", value
    for how, quoted in (("URL", urllib.parse.quote(value)), ("URL, whole", urllib.parse.quote(value, safe="")),
                        ("form", urllib.parse.quote_plus(value))):  # fmt: skip
        if quoted.encode() != value:
            yield how, quoted.encode()
    escaped = value.decode().encode("ascii", "backslashreplace")
    if escaped != value:
        yield "escaped", escaped
    yield "hex", value.hex().encode()
    yield "hex", value.hex().upper().encode()
    for lead in range(3):
        # Characters that also depend on what stands before or after are left out.
        usable = value[(3 - lead) % 3 :]
        code = base64.b64encode(usable[: len(usable) // 3 * 3])
        yield "base64", code
        yield "base64", code.translate(bytes.maketrans(b"+/", b"-_"))


def _files(folder: Path | None, ignore: set[str]) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")) if folder else ():
        yield f"the name of {path}", str(path.relative_to(folder)).encode()  # type: ignore[arg-type]
        if not path.is_file() or path.name in ignore:
            continue
        raw = path.read_bytes()
        yield str(path), raw
        if raw[:2] == b"\x1f\x8b":
            yield f"{path}, unpacked", gzip.decompress(raw)
        elif raw[:15] == b"SQLite format 3":
            yield f"{path}, its rows", _rows(path)
        elif raw[:4] == b"PAR1":
            yield f"{path}, its rows", _columns(path)


def _rows(path: Path) -> bytes:
    # A long value is spread over pages of the file.
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return "\n".join(str(row) for table in tables for row in db.execute(f'SELECT * FROM "{table}"')).encode()


def _columns(path: Path) -> bytes:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        table = file.read()
        return f"{file.schema_arrow.metadata} {table.to_pydict()}".encode()


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
