"""Makes what decides of a bundle: bars up to the moment, features, models, thresholds, and a watch for drift."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import Layout
from pipeline.config import Config, utc_ms
from pipeline.errors import BadInput
from pipeline.stages.serve_bars import MergedBars, fetched_of, merged_until
from pipeline.stages.serve_models import allowed, evidence, load, thresholds_of
from pipeline.stages.serve_wish import Wish
from pipeline.stages.times import iso

if TYPE_CHECKING:
    from pipeline.exchange.port import Exchange
    from pipeline.live.minds import Mind
    from pipeline.live.strategy import Outlook
    from pipeline.models.bundle import Bundle
    from pipeline.models.drift.monitor import DriftMonitor


class DriftWatch:
    """A monitor for each symbol, fed by outlooks. places: of its features among the outlook's."""

    def __init__(self, monitors: "Mapping[str, DriftMonitor]", places: Mapping[str, list[int]]) -> None:
        self._monitors, self._places = monitors, places

    def update(self, outlook: "Outlook") -> None:
        """Take a decided bar."""
        for symbol, features in outlook.features.items():
            if symbol in self._monitors:
                scores = {name: float(value) for name, value in outlook.scores[symbol].items()}
                self._monitors[symbol].update(features[self._places[symbol]], scores)

    def alarm(self) -> str | None:
        """What has drifted, by symbol; None if nothing has."""
        found = {symbol: monitor.alarm() for symbol, monitor in self._monitors.items()}
        return "; ".join(f"{symbol}: {words}" for symbol, words in found.items() if words) or None


async def make_mind(
    config: Config,
    layout: Layout,
    exchange: "Exchange",
    wish: Wish,
    begin_ms: int,
    origin_ms: int,
    is_replay: bool,
    wanted: str | None = None,
) -> "tuple[Mind, Bundle | None]":
    """What decides from the bar at `begin_ms` on, and its bundle.

    wanted: a bundle other than the current one, which takes over from a running one: live, it needs a valid
    certificate. Raises BadInput: it does not fit, or nothing vouches for it. Unavailable: bars cannot be fetched.
    """
    merged = await merged_until(config, layout, exchange, begin_ms)
    return await asyncio.to_thread(_made, config, layout, wish, merged, origin_ms, is_replay, wanted)


def _made(
    config: Config,
    layout: Layout,
    wish: Wish,
    merged: MergedBars,
    origin_ms: int,
    is_replay: bool,
    wanted: str | None,
) -> "tuple[Mind, Bundle | None]":
    from pipeline.live.following import Follower
    from pipeline.live.minds import Mind

    bundle, name, folder = load(config, layout, wanted)
    if wanted and wish.live and not wish.uncertified and not is_replay:
        fault, promoted = evidence(config, layout, name, bundle)
        if fault:
            raise BadInput(f"bundle {name}: its certificate: {fault}", "`pipeline retrain` makes one with its bundle")
        if bundle is not None and promoted not in allowed(config.serve.exchange):
            raise BadInput(f"bundle {name}: promoted to {promoted or 'nothing'}", "`pipeline promote` takes it further")
    thresholds, _ = thresholds_of(config, layout, folder)
    follower = Follower(config, bundle, merged, origin_ms, thresholds, fetched_of(config), merged.tails)
    watch = None if bundle is None else _watch(config, bundle.manifest, merged)
    notes = () if bundle is None else tuple(_other_origins(bundle.manifest, merged))
    if notes and wish.live and not is_replay:
        raise BadInput(notes[0], "set download.start and merge.start to where the training bars began, or train again")
    return Mind(follower, name, _expires_ms(config, bundle, is_replay), watch, notes), bundle


def _other_origins(manifest: Mapping[str, Any], merged: MergedBars) -> Iterator[str]:
    """Symbols whose bars begin elsewhere than the training's: averages that never forget differ in their last bits."""
    for symbol, origin in (manifest.get("origin") or {}).items():
        begin = iso(merged.first_ms(symbol)) if symbol in merged else origin
        if begin != origin:
            yield f"{symbol}: the bars begin at {begin}, and those that the bundle learned from at {origin}"


def _expires_ms(config: Config, bundle: "Bundle | None", is_replay: bool) -> int | None:
    """When a bundle is too old to trade with; a replay's bars are older than any clock."""
    if bundle is None or is_replay:
        return None
    bars = config.bars(config.risk.breakers.model_expires)
    return utc_ms(str(bundle.manifest["created"])) + bars * config.step_ms


def _watch(config: Config, manifest: Mapping[str, Any], merged: MergedBars) -> DriftWatch | None:
    """Monitors that have seen what there is since the training, a window at most; none without a reference."""
    from pipeline.features import compute, feature_names, lookback_bars
    from pipeline.models.drift.monitor import DriftMonitor

    reference = manifest.get("drift")
    if not reference:
        return None
    names, since = feature_names(config), utc_ms(str(manifest["train"]["label_end"]))
    monitors, places = {}, {}
    for symbol in merged:
        monitor = monitors[symbol] = DriftMonitor(reference, config.drift)
        places[symbol] = [names.index(name) for name in monitor.features]
        after = max(0, -((since - merged.last_ms(symbol)) // config.step_ms))
        rows = min(monitor.window_bars, after)
        if not rows or not monitor.features:
            continue
        features = compute(config, merged.last(symbol, rows + lookback_bars(config)))
        columns = [features.column(name).to_numpy()[-rows:] for name in monitor.features]
        for row in np.column_stack(columns):
            monitor.update(row, {})
    return DriftWatch(monitors, places)
