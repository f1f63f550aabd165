"""Where the replayed market comes from: downloaded bars, own files, an archive tree, or the synthetic market."""

import glob
import re
from pathlib import Path

import pyarrow as pa

from pipeline.config.sources import FileSource, SyntheticSource
from pipeline.errors import BadInput, MissingInput
from pipeline.exchange.local.history import Series, from_table
from pipeline.market import files, synthetic

_KINDS = {".parquet": "parquet", ".csv": "csv", ".gz": "csv", ".zip": "csv"}


def load(
    data: Path | None, symbols: list[str], interval: str, start_ms: int, end_ms: int, market: SyntheticSource
) -> dict[str, Series]:
    """Bars of each symbol with open times in [start_ms, end_ms).

    data: a file, or a folder in which names tell symbol and interval (`BTCUSDT_1m.parquet`, the archive's zips, or the
    layout of data/raw); None for the synthetic `market`.
    Raises MissingInput, BadInput: naming the file and what is wrong.
    """
    found = {}
    for symbol in symbols:
        table = _table(data, symbol, interval, start_ms, end_ms, market)
        if not len(table):
            raise BadInput(f"{data or 'the synthetic market'}: no bars of {symbol} {interval} between start and end")
        found[symbol] = from_table(table, interval)
    return found


def _table(
    data: Path | None, symbol: str, interval: str, start_ms: int, end_ms: int, market: SyntheticSource
) -> pa.Table:
    if data is None:
        try:
            return synthetic.bars(market, symbol, interval, start_ms, end_ms)
        except BadInput as error:
            # Its words are about a config's keys, and here there is none.
            raise BadInput(re.sub(r"^download(\.start)?: ", "", error.message), error.hint) from None
    if not data.exists():
        raise MissingInput(f"{data}: there is no such file or folder", "give --data a folder of bars, or leave it out")
    pattern, kind = (data, _KINDS.get(data.suffix)) if data.is_file() else _inside(data, symbol, interval)
    if kind is None:
        raise BadInput(f"{data}: is neither Parquet nor CSV", "give --data a .parquet, .csv, .csv.gz or .zip file")
    path = glob.escape(str(pattern)) if pattern.is_file() else str(pattern)
    source = FileSource(path=path)
    return files.read(source, "parquet" if kind == "parquet" else "csv", symbol, interval, start_ms, end_ms)


def _inside(folder: Path, symbol: str, interval: str) -> tuple[Path, str]:
    """The pattern of a symbol's files below a folder, and their kind."""
    layouts = (
        (f"{symbol}_{interval}.parquet", "parquet"),
        (f"{symbol}/{interval}/*.parquet", "parquet"),
        (f"**/{symbol}/{interval}/*.parquet", "parquet"),
        (f"{symbol}-{interval}*.csv*", "csv"),
        (f"{symbol}_{interval}*.csv*", "csv"),
        (f"**/klines/{symbol}/{interval}/*.zip", "csv"),
    )
    for pattern, kind in layouts:
        if any(folder.glob(pattern)):
            return Path(glob.escape(str(folder))) / pattern, kind
    known = sorted({match[1] for path in folder.rglob("*") if (match := re.match(r"([A-Z0-9]{5,20})[_\-]", path.name))})
    raise MissingInput(
        f"{folder}: no bars of {symbol} {interval}",
        f"found files of {', '.join(known[:8])}" if known else "expected SYMBOL_INTERVAL.parquet, or data/raw's layout",
    )
