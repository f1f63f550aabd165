"""Sections `download` and `merge`: where bars come from and how they become one table."""

from typing import Literal

from pydantic import Field

from pipeline.config.durations import Interval, Length
from pipeline.config.section import Date, Fraction, Section


class BinanceSource(Section):
    """The bulk archive first (monthly, then daily files), REST for the rest."""

    archive: bool = Field(True, description="Read the bulk archive (data.binance.vision layout).")
    archive_url: str = Field("https://data.binance.vision", description="http(s):// or file:// base of the archive.")
    rest: bool = Field(True, description="Read what the archive does not have yet over REST.")
    api_url: str = Field("https://api.binance.com", description="Base URL of the spot REST API.")
    futures_api_url: str = Field("https://fapi.binance.com", description="Base URL of the USD-M REST API.")
    max_weight_per_minute: int = Field(
        3000, gt=0, description="Request weight to stay below; the exchange allows 6000."
    )
    timeout: float = Field(30, gt=0, description="Seconds to wait for one reply.")
    retries: int = Field(4, ge=0, description="Further tries after a network error or a 5xx.")
    parallel: int = Field(4, gt=0, le=16, description="Archive files fetched at a time.")


class FileSource(Section):
    """Bars in files of your own; `{symbol}` and `{interval}` are filled in."""

    path: str = Field(description="One file, or a glob; CSV (also .gz, .zip) or Parquet.")
    columns: dict[str, str] = Field({}, description="Our column name: theirs, where they differ.")
    timestamp_unit: Literal["auto", "s", "ms", "us", "ns"] = "auto"
    utc_offset: Length = Field(0, description="Hours that the file's clock is ahead of UTC, such as '3h'.")
    delimiter: str = ","


class SyntheticSource(Section):
    """A seeded market: regimes, fat tails, volatility clustering, daily volume profile, outages."""

    seed: int = 7
    start_price: float = Field(30_000, gt=0)
    annual_volatility: float = Field(0.6, gt=0, le=5)
    outages_per_year: float = Field(6, ge=0)
    edge: float = Field(0.0, ge=0, le=1, description="Strength of the planted short-term pattern; 0 is unpredictable.")
    exchange: bool = Field(
        False, description="Fetch the bars from a local exchange, over the same wire as from the real one."
    )


class Download(Section):
    """Where the bars come from."""

    source: Literal["binance", "csv", "parquet", "synthetic"] = "binance"
    market: Literal["spot", "um"] = Field("spot", description="Spot, or USD-M perpetual futures.")
    start: Date | None = Field(None, description="First bar; without it the last 30 days, of files all they have.")
    end: Date | None = Field(None, description="Bars before this time; without it up to the last closed bar.")
    also_symbols: list[str] = Field([], description="Reference symbols, read by merge but not traded.")
    also_intervals: list[Interval] = Field([], description="Further intervals of the same symbols.")
    funding: bool = Field(False, description="Funding rates of USD-M symbols.")
    mark_price: bool | None = Field(
        None,
        description="The mark price, by which futures are liquidated. Left out: yes for market um, unless the bars are"
        " in files; where the source has none, the last price stands in its place.",
    )
    recheck: bool = Field(False, description="Compare checksums with the archive's and re-read re-published files.")
    binance: BinanceSource = BinanceSource()
    file: FileSource | None = None
    funding_file: FileSource | None = Field(None, description="Funding rates, where the bars are in files as well.")
    synthetic: SyntheticSource = SyntheticSource()

    @property
    def marks(self) -> bool:
        """Whether the mark price is wanted."""
        if self.mark_price is not None:
            return self.mark_price
        return self.market == "um" and self.source in ("binance", "synthetic")

    @property
    def venue(self) -> str:
        """First folder below data/raw: files of unlike origin never mix."""
        return {"csv": "file", "parquet": "file"}.get(self.source, self.source)


class Merge(Section):
    """How downloaded bars become one complete grid per symbol."""

    start: Date | None = None
    end: Date | None = None
    symbols: list[str] = Field([], description="Reference symbols whose columns are added as {symbol}_{column}.")
    timeframes: list[Interval] = Field(
        [], description="Higher intervals added as {interval}_{column}, after they closed."
    )
    funding: bool = Field(False, description="Add the last known `funding_rate`.")
    max_filled: Fraction = Field(0.2, description="Refuse a table with a larger share of made-up bars than this.")
    on_misaligned: Literal["error", "snap"] = Field(
        "error", description="Bars off the grid by seconds: refuse or snap."
    )
