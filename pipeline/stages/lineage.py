"""`pipeline lineage ORDER`: from an order back to the downloaded files, with every link of the way checked."""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import Layout, read_json, read_table, sha256_file, sha256_json
from pipeline.config import Config, utc_ms
from pipeline.errors import BadInput, CheckFailed, PipelineError
from pipeline.stages.past_bundle import folder_of, is_rules, require_same
from pipeline.stages.reporting import print_json
from pipeline.stages.runner import Options
from pipeline.stages.serve_models import config_hash
from pipeline.stages.times import iso

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from pipeline.live.tracing import Story
    from pipeline.models.bundle import Bundle

_FATE = {"SENT": "sent", "OUTCOME": "outcome", "FILL": "fill", "CANCEL": "cancel sent"}


@dataclass
class Link:
    """One thing on the way, and what it came from.

    facts: to show. broken: why it cannot be trusted or followed, empty if it can. below: what it came from.
    """

    what: str
    facts: dict[str, Any] = field(default_factory=dict)
    broken: str = ""
    below: list["Link"] = field(default_factory=list)

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        own: dict[str, Any] = {"what": self.what, **self.facts}
        own |= {"broken": self.broken} if self.broken else {}
        return own | ({"from": [link.json() for link in self.below]} if self.below else {})

    def lines(self, indent: str = "") -> list[str]:
        """As a tree."""
        told = "  ".join(f"{key} {_short(value)}" for key, value in self.facts.items() if value not in (None, ""))
        lines = [f"{self.what}  {told}".rstrip()]
        if self.broken:
            lines.append(f"   BROKEN: {self.broken}")
        for number, link in enumerate(self.below):
            last = number == len(self.below) - 1
            first, *rest = link.lines()
            lines.append(f"{'└─ ' if last else '├─ '}{first}")
            lines += [f"{'   ' if last else '│  '}{line}" for line in rest]
        return [indent + line for line in lines]

    def problems(self) -> list[str]:
        """Of this link and all below it."""
        return [f"{self.what}: {self.broken}"] * bool(self.broken) + [p for link in self.below for p in link.problems()]


def lineage(options: Options, order: str, store: str | None) -> None:
    """Print where an order came from. Raises BadInput: there is no such order. CheckFailed: a link is broken."""
    try:
        config, layout = options.load()
        root = trace(config, layout, order, store)
    except PipelineError as error:
        options.explain(error)
        raise
    if options.json:
        print_json(root.json())
    else:
        print("\n".join(root.lines()), flush=True)
    if problems := root.problems():
        raise CheckFailed(f"lineage: {len(problems)} broken: {problems[0]}", "each is marked BROKEN above")


def trace(config: Config, layout: Layout, order: str, store: str | None = None) -> Link:
    """The tree of an order: client id, its beginning, the exchange's number, or SYMBOL@TIME for a bar's decision."""
    from pipeline.live.journal import open_reader
    from pipeline.live.tracing import trace_decision, trace_order

    reader = open_reader(store or config.serve.store or layout.journal, config.name)
    try:
        if "@" in order:
            symbol, text = order.split("@", 1)
            story = trace_decision(reader.read, symbol, _time(text))
        else:
            story = trace_order(reader.read, order)
    finally:
        reader.close()
    decision = _decision(config, layout, story)
    return decision if story.intent is None else _order(story, decision)


def _time(text: str) -> int:
    try:
        return utc_ms(text)
    except ValueError:
        raise BadInput(f"lineage: '{text}' is not a time", "write SYMBOL@2024-01-31T12:00") from None


# Order and intent


def _order(story: "Story", decision: Link) -> Link:
    from pipeline.trading.orders import client_order_id

    assert story.intent is not None
    number, _, body = story.intent
    shown = {key: body.get(key) for key in ("symbol", "leg", "side", "qty", "kind", "price", "stop_price")}
    order = Link("order", {"id": body["id"], **shown}, below=[_told(one) for one in story.fate])
    if not any(one[1] == "SENT" for one in story.fate):
        order.below.append(Link("not sent", {"reason": "the journal has no SENT record of it"}))
    order.below += [
        Link("trade", {"record": one[0], "pnl": one[2].get("pnl"), "return": one[2].get("return")})
        for one in story.trades
    ]
    facts = {"record": number, "bundle": body["bundle"], "bar": iso(int(body["bar"])), "attempt": body["attempt"]}
    intent = Link("intent", facts, below=[decision])
    named = client_order_id(body["bundle"], body["symbol"], int(body["bar"]), body["leg"], int(body["attempt"]))
    if named != body["id"]:
        intent.broken = f"bundle, symbol, bar, leg and attempt make the id {named}"
    elif story.bar is not None:
        intent.broken = _contradiction(body, story.bar[2])
    order.below.append(intent)
    return order


def _told(record: tuple[int, str, Mapping[str, Any]]) -> Link:
    number, kind, body = record
    told = {key: value for key, value in body.items() if key not in ("id", "time")}
    at = {"at": iso(int(body["time"]))} if isinstance(body.get("time"), int) else {}
    return Link(_FATE.get(kind, kind.lower()), {"record": number, **at, **told})


def _contradiction(intent: Mapping[str, Any], bar: Mapping[str, Any]) -> str:
    seen = bar["s"][intent["symbol"]]
    if bar["bundle"] != intent["bundle"]:
        return f"the bar was decided by {bar['bundle']}"
    if intent["leg"] == "entry" and not seen["order"]:
        return "the bar ordered no entry"
    return ""


# Decision and bundle


def _decision(config: Config, layout: Layout, story: "Story") -> Link:
    if story.bar is None:
        return Link("decision", {}, f"the journal has no bar of {story.symbol} at {iso(story.open_time_ms)}")
    number, _, body = story.bar
    seen = body["s"][story.symbol]
    facts = {
        "record": number, "symbol": story.symbol, "bar": iso(story.open_time_ms), "score": seen["score"],
        "close": seen["close"], "signal": ("", "buy", "sell", "both")[int(seen["signal"])], "gate": seen["gate"],
        "entry": ("", "long", "short")[int(seen["order"])], "exit": seen["exit"], "late": bool(body["late"]),
    }  # fmt: skip
    link = Link("decision", facts)
    bundle_link, bundle = _bundle(config, layout, str(body["bundle"]))
    link.below = [_config(config, story), bundle_link, *_recomputed(config, layout, story, seen, bundle)]
    return link


def _config(config: Config, story: "Story") -> Link:
    if story.start is None:
        return Link("start", {}, "the journal has no START before the bar")
    number, _, body = story.start
    link = Link("start", {"record": number, "mode": body["mode"], "config": body["config"]})
    now = config_hash(config)
    if now != body["config"]:
        link.broken = f"the config has changed since: its hash is {now[:12]}… now"
    return link


def _bundle(config: Config, layout: Layout, name: str) -> "tuple[Link, Bundle | None]":
    from pipeline.evaluation import certificate
    from pipeline.models import bundle

    link = Link("bundle", {"id": name})
    try:
        require_same(config, layout, name)
        if is_rules(name):
            return link, None
        folder = folder_of(layout, name)
        manifest = bundle.read_manifest(folder)
        bundle.verify(folder, manifest)
        link.below = [_model(folder, name, facts) for name, facts in manifest["models"].items()]
        train, hashes = manifest["train"], manifest.get("hashes", {})
        link.facts |= {"folder": str(folder), "manifest": sha256_json(manifest)[:12]}
        link.facts |= {
            "trained": f"{train.get('start')} to {train.get('end')}",
            "code": str(hashes.get("code", ""))[:12],
        }
        found = certificate.read(manifest)
        fault = "there is none" if found is None else certificate.valid_for(found, manifest)
        link.below.append(Link("certificate", {"mode": found.mode if found else "", "fault": fault or ""}))
        link.below += [
            Link("trained on", {"file": key, "sha256": value}) for key, value in hashes.items() if "/" in key
        ]
        if (path := _metrics(layout, folder)) is not None:
            told = read_json(path, "simulate")
            link.below.append(Link("metrics", {"file": str(path), "thresholds": told.get("thresholds")}))
        return link, bundle.load(folder)
    except PipelineError as error:
        link.broken = error.message
        return link, None


def _model(folder: Path, name: str, facts: Mapping[str, Any]) -> Link:
    told = {"file": str(folder / facts["file"]), "sha256": facts["sha256"], "validation": facts.get("validation")}
    return Link(f"model {name}", told)


def _metrics(layout: Layout, folder: Path) -> Path | None:
    return next((p for p in (folder / "metrics.json", layout.simulation / "metrics.json") if p.is_file()), None)


# Features, merged rows, raw files


def _recomputed(
    config: Config, layout: Layout, story: "Story", seen: Mapping[str, Any], bundle: "Bundle | None"
) -> list[Link]:
    merged = Link("merged row", {"file": str(layout.merged(story.symbol)), "bar": iso(story.open_time_ms)})
    features = Link("features", {}, below=[merged])
    merged.below = _raw(config, layout, story)
    try:
        table = read_table(layout.merged(story.symbol), "merge")
        row = _row(table, story.open_time_ms)
        if row is None:
            raise BadInput(
                f"the file has no bar of {iso(story.open_time_ms)}: run `pipeline download` and `pipeline merge`"
            )
    except PipelineError as error:
        merged.broken = error.message
        features.broken = "cannot be computed again without the merged row"
        return [features]
    merged.facts |= {name: table.column(name)[row].as_py() for name in table.column_names if name != "open_time"}
    if merged.facts["close"] != seen["close"]:
        merged.broken = f"its close is not the one that was decided on, {seen['close']}"
    if bundle is None and config.signals.predictions != "features":
        features.broken = "cannot be computed again without the bundle"
        return [features]
    try:
        names, values, score = _compute(config, bundle, story.symbol, table, row)
    except PipelineError as error:
        features.broken = error.message
        return [features]
    features.facts = {"count": len(names), "values": {n: float(v) for n, v in zip(names, values, strict=True)}}
    expected = float("nan") if seen["score"] is None else float(seen["score"])
    again = Link("score", {"journal": seen["score"], "again": None if math.isnan(score) else score})
    if _bits(score) != _bits(expected):
        again.broken = "computed again from the stored bars it is another one: they are not those that were live"
    return [again, features]


def _compute(
    config: Config, bundle: "Bundle | None", symbol: str, table: "pa.Table", row: int
) -> "tuple[list[str], npt.NDArray[np.float32], float]":
    """Features and score of a row by the live strategy, opened on the rows before it."""
    from pipeline.live.merging import bars_of
    from pipeline.live.strategy import Strategy, columns_of
    from pipeline.market import candles

    alone = config.model_copy(update={"symbols": [symbol]})
    names = [name for name in columns_of(alone) if name in table.column_names and name != "is_filled"]
    time = int(candles.times_ms(table.slice(row, 1))[0])
    strategy = Strategy(alone, bundle, {symbol: table.slice(0, row)}, time)
    (bar,) = bars_of(table.slice(row, 1), names)
    outlook = strategy.update(time, {symbol: bar})
    return strategy.features, outlook.features[symbol], float(outlook.market.score[0, 0])


def _raw(config: Config, layout: Layout, story: "Story") -> list[Link]:
    """The months that the row was made of: its own bar's, and those of reference symbols and downloaded intervals."""
    download = config.download
    month = iso(story.open_time_ms)[:7]
    wanted = [(story.symbol, config.interval)]
    wanted += [(other, config.interval) for other in config.merge.symbols if other != story.symbol]
    wanted += [(story.symbol, interval) for interval in config.merge.timeframes if interval in download.also_intervals]
    folders = [(f"{s} {i}", layout.bars(download.venue, download.market, s, i)) for s, i in wanted]
    if config.merge.funding:
        folders.append((f"{story.symbol} funding", layout.bars(download.venue, "um", story.symbol, "funding")))
    return [_month(what, folder / f"{month}.parquet", story.open_time_ms) for what, folder in folders]


def _month(what: str, path: Path, time: int) -> Link:
    link = Link("raw file", {"of": what, "file": str(path)})
    try:
        told = read_json(path.with_suffix(".json"), "download")
        link.facts["sha256"] = told["sha256"]
        if not path.is_file() or sha256_file(path) != told["sha256"]:
            link.broken = "is missing or not the file that was downloaded"
        for part in told["sources"]:
            if utc_ms(part["start"]) <= time < utc_ms(part["end"]):
                link.below.append(Link("downloaded from", {key: part.get(key) for key in ("url", "sha256", "rows")}))
        if not link.below and not link.broken:
            link.broken = f"its provenance names no source of {iso(time)}"
    except (PipelineError, KeyError, TypeError, ValueError) as error:
        link.broken = error.message if isinstance(error, PipelineError) else f"its provenance is damaged: {error!r}"
    return link


def _row(table: "pa.Table", time: int) -> int | None:
    from pipeline.market import candles

    times = candles.times_ms(table)
    row = int(times.searchsorted(time))
    return row if row < len(times) and int(times[row]) == time else None


def _bits(value: float) -> bytes:
    return b"nan" if math.isnan(value) else struct.pack("<d", value)


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        shown = [f"{key}={_short(one)}" for key, one in list(value.items())[:4]]
        return f"{{{', '.join(shown)}{f', … {len(value) - 4} more' if len(value) > 4 else ''}}}"
    if isinstance(value, float):
        return f"{value:.10g}"
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 and text.isalnum() else text
