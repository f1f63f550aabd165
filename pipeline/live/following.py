"""From closed bars to an outlook: merged bars, features, scores and gates of all symbols of one bundle."""

from collections.abc import Collection, Mapping

import numpy as np
import pyarrow as pa

from pipeline.config import Config, interval_ms
from pipeline.errors import ExchangeError
from pipeline.live.gathering import Bar, Gathered
from pipeline.live.merging import Arrivals, MergedBar, MergeStream
from pipeline.live.strategy import Outlook, Strategy, Thresholds
from pipeline.market import candles
from pipeline.models.bundle import Bundle

Others = Mapping[str, Bar | None]
# Bars of a silent symbol of which it is kept what else was known at them: three days of minutes, some megabytes.
MOST_BEHIND = 5000


class Follower:
    """Follows the market with one bundle.

    merged: merged tables by symbol, all of them ending at the same bar; the follower goes on with the next one.
    fetched: higher intervals whose bars are given to `update`. tails: the newest bars with all columns, from where the
    longest higher bar opened that is made of them, if `merged` has only what a strategy reads.
    Raises BadInput: as MergeStream and Strategy.
    """

    def __init__(
        self,
        config: Config,
        bundle: Bundle | None,
        merged: Mapping[str, pa.Table],
        origin_ms: int,
        thresholds: Thresholds | None = None,
        fetched: Collection[str] = (),
        tails: Mapping[str, pa.Table] | None = None,
    ) -> None:
        tails = merged if tails is None else tails
        self.step_ms = config.step_ms
        self._references = list(config.merge.symbols)
        self._merges = {name: MergeStream(config, name, table, fetched) for name, table in tails.items()}
        self.strategy = Strategy(config, bundle, merged, origin_ms, thresholds)
        self.last_open_ms = max(int(candles.times_ms(table)[-1]) for table in tails.values())
        self._last: Mapping[str, Bar | None] = {}
        # What else was known at the close of bars that had not come in time, by symbol and open time.
        self._behind: dict[str, dict[int, tuple[Others, Others]]] = {}
        # Symbols of which the oldest of that has been let go.
        self._too_late: set[str] = set()

    def update(
        self, gathered: Gathered, higher: Mapping[str, Others] | None = None
    ) -> tuple[Outlook, dict[str, MergedBar]]:
        """The outlook of a bar, and the merged bars it comes from. higher: bars that closed with it, by symbol and
        interval.

        Raises ExchangeError: a symbol has come back after so long that what else was known then is not kept.
        """
        time = gathered.open_time_ms
        for symbol, at, bar in gathered.late:
            if symbol in self._merges:
                then = self._known_then(symbol, at)
                self.strategy.catch_up(symbol, self._merge(symbol, at, bar, *then))
        others = {name: gathered.bars.get(name) for name in self._references}
        for symbol in gathered.behind:
            # A symbol may be silent for ever: nothing is kept for it if nothing else was known.
            if others or (higher or {}).get(symbol):
                kept = self._behind.setdefault(symbol, {})
                kept[time] = others, (higher or {}).get(symbol, {})
                if len(kept) > MOST_BEHIND:
                    del kept[next(iter(kept))]
                    self._too_late.add(symbol)
        merged = {
            symbol: self._merge(symbol, time, gathered.bars[symbol], others, (higher or {}).get(symbol, {}))
            for symbol in self._merges
            if symbol in gathered.bars
        }
        self.last_open_ms = time
        self._last = gathered.bars
        return self.strategy.update(time, merged), merged

    def _known_then(self, symbol: str, at: int) -> tuple[Others, Others]:
        """What else was known at a bar that comes only now."""
        if symbol in self._too_late:
            # Its features would be others than those of the files. Starting reads all of it anew.
            raise ExchangeError(
                f"{symbol} has come back after {MOST_BEHIND:,} bars of silence, and the bars beside it are not kept",
                "start again, as systemd does: starting reads them all",
            )
        return self._behind.get(symbol, {}).pop(at, ({}, {}))

    def peek(self) -> Outlook | None:
        """What would be said if one symbol's last bar came again; nothing changes. None if it cannot be told."""
        for symbol, bar in self._last.items():
            if symbol in self._merges and bar is not None:
                time = self.last_open_ms + self.step_ms
                merged = self._merges[symbol].peek(bar)
                return self.strategy.peek(time, {symbol: merged}) if merged.open_time_ms == time else None
        return None

    def _merge(self, symbol: str, at: int, bar: Bar | None, others: Others, higher: Others) -> MergedBar:
        return self._merges[symbol].update(at, Arrivals(bar, others, higher))


def closing(config: Config, fetched: Collection[str], open_time_ms: int) -> list[str]:
    """The fetched higher intervals of which a bar closes with the bar of a time."""
    end = open_time_ms + config.step_ms
    return [interval for interval in fetched if end % interval_ms(interval) == 0]


def extended(
    config: Config,
    symbol: str,
    table: pa.Table,
    bars: Mapping[str, Mapping[int, Bar]],
    higher: Mapping[str, Mapping[int, Bar]],
    until_ms: int,
) -> pa.Table:
    """A merged table with the bars after it, up to those that open before a time.

    bars: by symbol, the references' among them, and open time. higher: fetched bars by interval and open time.
    """
    stream = MergeStream(config, symbol, table, higher)
    time = int(candles.times_ms(table)[-1]) + config.step_ms
    rows: list[MergedBar] = []
    while time < until_ms:
        others = {name: bars.get(name, {}).get(time) for name in config.merge.symbols}
        end = time + config.step_ms
        closed = {name: higher[name].get(end - interval_ms(name)) for name in closing(config, higher, time)}
        rows.append(stream.update(time, Arrivals(bars.get(symbol, {}).get(time), others, closed)))
        time = end
    if not rows:
        return table
    columns: dict[str, pa.Array] = {
        name: pa.array([row.values[name] for row in rows], pa.float64()) for name in table.column_names
        if name not in ("open_time", "is_filled")
    }  # fmt: skip
    columns["open_time"] = candles.time_array(np.array([row.open_time_ms for row in rows], np.int64))
    columns["is_filled"] = pa.array([row.filled for row in rows], pa.bool_())
    tail = pa.table(columns).select(table.column_names).cast(table.schema)
    return pa.concat_tables([table, tail])
