"""What is told, in words for people: short enough for a telephone, and with what to do next when something is wrong."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

# Events that must get through before others.
URGENT = frozenset({"halt", "breaker", "error", "stop"})
# Signs of base assets; others are written out.
_SIGNS = {"BTC": "₿", "ETH": "Ξ"}
_QUOTES = ("USDT", "USDC", "FDUSD", "BUSD", "USD")
_CHEVRONS = 3


@dataclass(frozen=True)
class Message:
    """kind: info, success, warning or failure, which some services show as a colour. urgent: goes before others."""

    title: str
    body: str
    kind: str = "info"
    urgent: bool = False


def message(event: str, fields: Mapping[str, Any], name: str = "", options: str = "") -> Message:
    """An event as a message.

    name: of the run, put before the title. options: of the commands that it advises, as `-c configs/btc.yaml`.
    """
    make = _TEXTS.get(event, _other)
    title, body, kind = make({**fields, "_event": event, "_options": f" {options}" if options else ""})
    return Message(f"{name}: {title}" if name else title, body, kind, event in URGENT)


@dataclass(frozen=True)
class Bands:
    """Where a score stands between the thresholds that make signals of it. buy is above sell."""

    buy: float
    sell: float

    def band(self, score: float) -> int:
        """0 in the middle, up to 2 on the way to a threshold, 3 beyond it; negative towards sell."""
        if score >= self.buy:
            return _CHEVRONS
        if score <= self.sell:
            return -_CHEVRONS
        middle, reach = (self.buy + self.sell) / 2, (self.buy - self.sell) / 2
        # Just beside a threshold the quotient may be rounded to it.
        return max(1 - _CHEVRONS, min(int(_CHEVRONS * (score - middle) / reach), _CHEVRONS - 1))


def score_message(symbol: str, price: float, score: float, bands: Bands | None, before: int | None) -> Message:
    """Price and score in a line, as intelligent-trading-bot sends it: `📈〉〉 ₿ 60,518 Score: +0.26 ↑`.

    bands: None without thresholds. before: band of the line before; an arrow shows that the score has left it.
    """
    band = bands.band(score) if bands else 0
    way = band or (score > 0) - (score < 0)
    sign = {1: "📈", -1: "📉", 0: "·"}[(way > 0) - (way < 0)] + "〉" * abs(band)
    arrow = "" if before is None or before == band else " ↑" if band > before else " ↓"
    zone = {_CHEVRONS: " BUY ZONE", -_CHEVRONS: " SELL ZONE"}.get(band, "")
    return Message("", f"{sign} {_short(symbol)} {number(price)} Score: {score:+.2f}{arrow}{zone}")


def number(value: Any) -> str:
    """An amount with thousands separated: none of its digits are lost if it is exact, five matter if it is a float."""
    if isinstance(value, float):
        if not isfinite(value):
            return str(value)
        digits = 0 if abs(value) >= 10_000 else 2 if abs(value) >= 100 else 4 if abs(value) >= 1 else 8
        text = f"{value:,.{digits}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    whole, point, rest = str(value).partition(".")
    if not re.fullmatch(r"-?\d+", whole):
        return str(value)
    sign = "-" if whole.startswith("-") else ""
    return f"{sign}{int(whole.lstrip('-')):,}{point}{rest}"


Text = tuple[str, str, str]


def _start(f: Mapping[str, Any]) -> Text:
    symbols = ", ".join(f.get("symbols", ()))
    return f"started, {f.get('mode', '')}".rstrip(", "), _joined([_named("bundle", f, "bundle"), symbols]), "info"


def _stop(f: Mapping[str, Any]) -> Text:
    return "stopped", str(f.get("reason", "")) or "as asked", "warning"


def _signal(f: Mapping[str, Any]) -> Text:
    side = str(f.get("side", "")).upper()
    score = f" Score: {f['score']:+.2f}" if isinstance(f.get("score"), float) else ""
    ordered = {True: "ordered", False: "not ordered"}.get(f.get("ordered"), "")  # type: ignore[arg-type]
    at = f"{_short(f.get('symbol', ''))} {number(f['price'])}" if "price" in f else str(f.get("symbol", ""))
    return f"{side} signal {f.get('symbol', '')}", _joined([f"{at}{score}", ordered, _bar(f)]), "info"


def _order(f: Mapping[str, Any]) -> Text:
    at = f" at {number(f['price'])}" if f.get("price") is not None else ""
    what = f"{str(f.get('side', '')).lower()} {number(f.get('qty', ''))} {f.get('symbol', '')}{at}"
    return f"order: {what}", _joined([f.get("leg", ""), f.get("client_order_id", "")]), "info"


def _fill(f: Mapping[str, Any]) -> Text:
    word = {"buy": "bought", "sell": "sold"}.get(str(f.get("side", "")).lower(), "filled")
    at = f" at {number(f['price'])}" if f.get("price") is not None else ""
    fee = f"fee {f['fee']} {f.get('fee_asset', '')}".strip() if f.get("fee") else ""
    title = f"{word} {number(f.get('qty', ''))} {f.get('symbol', '')}{at}"
    return title, _joined([f.get("leg", ""), fee, f.get("client_order_id", "")]), "info"


def _trade(f: Mapping[str, Any]) -> Text:
    pnl = float(f.get("pnl", 0.0))
    share = f" {f['return']:+.2%}" if isinstance(f.get("return"), float) else ""
    verb = "COVERED" if str(f.get("side", "")).lower() in ("short", "-1") else "SOLD"
    way = f"{number(f['entry_price'])} → {number(f['exit_price'])}" if "exit_price" in f else ""
    bars = f"after {f['bars_held']} bars" if "bars_held" in f else ""
    quote = f" {f['quote_asset']}" if f.get("quote_asset") else ""
    body = _joined(
        [
            f"{number(f.get('qty', ''))} {way}".strip(),
            bars,
            str(f.get("exit_reason", "")),
            f"Profit: {pnl:+,.2f}{quote}",
        ]
    )
    title = f"⚡💰 {verb} {f.get('symbol', '')}{share}"
    return title, body, "success" if pnl > 0 else "warning" if pnl < 0 else "info"


def _halt(f: Mapping[str, Any]) -> Text:
    reason = str(f.get("reason", ""))
    found = re.match(r"([A-Z0-9]{4,20}): ", reason)
    symbol = str(f.get("symbol") or (found[1] if found else ""))
    told = reason.removeprefix(f"{symbol}: ")
    resume = f"pipeline resume --symbol {symbol}{f['_options']}" if symbol else f"pipeline resume{f['_options']}"
    body = (
        f"{told}\nNothing is entered there; what is held stays protected.\n"
        f"What to do: compare `pipeline status{f['_options']}` with the orders on the exchange, then `{resume}`."
    )
    return f"🛑 {symbol or 'trading'} halted", body, "failure"


def _breaker(f: Mapping[str, Any]) -> Text:
    word = str(f.get("breaker", "breaker"))
    first = "remove the file, then " if word == "kill_switch" else "look at `pipeline status`, then "
    body = (
        f"{f.get('reason', '')}\nPositions are being closed, and nothing is entered any more.\n"
        f"What to do: {first.replace('status`', 'status' + f['_options'] + '`')}"
        f"`pipeline reset-breaker {word}{f['_options']}`."
    )
    return f"🛑 breaker {word}", body, "failure"


def _daily(f: Mapping[str, Any]) -> Text:
    pnl, equity = float(f.get("pnl", 0.0)), f.get("equity")
    start = float(equity) - pnl if equity is not None else 0.0
    share = f" ({pnl / start:+.2%})" if start > 0 else ""
    day = f"{f['bar'][:10]} " if isinstance(f.get("bar"), str) else ""
    items = [
        f"equity {float(equity):,.2f}" if equity is not None else "",
        _named("trades", f, "trades"),
        f"drawdown {f['drawdown']:.2%}" if isinstance(f.get("drawdown"), float) else "",
        _named("bundle", f, "bundle"),
    ]
    return f"📅 {day}{pnl:+,.2f}{share}", _joined(items), "success" if pnl > 0 else "warning" if pnl < 0 else "info"


def _error(f: Mapping[str, Any]) -> Text:
    where = f" {f['symbol']}" if f.get("symbol") else ""
    body = _joined([str(f.get("reason", "")), f.get("client_order_id", "")])
    return f"⚠ error{where}", f"{body}\nMore is in serve.log." if body else "More is in serve.log.", "failure"


def _other(f: Mapping[str, Any]) -> Text:
    shown = {key: value for key, value in f.items() if not key.startswith("_")}
    return str(f["_event"]), _joined([f"{key} {value}" for key, value in shown.items()]), "info"


_TEXTS = {
    "start": _start, "stop": _stop, "signal": _signal, "order": _order, "fill": _fill, "trade": _trade,
    "halt": _halt, "breaker": _breaker, "daily": _daily, "error": _error,
}  # fmt: skip


def _short(symbol: str) -> str:
    base = next((symbol.removesuffix(quote) for quote in _QUOTES if symbol.endswith(quote)), symbol)
    return _SIGNS.get(base, symbol)


def _bar(f: Mapping[str, Any]) -> str:
    return f"bar {f['bar'][:16].replace('T', ' ')}" if isinstance(f.get("bar"), str) else ""


def _named(label: str, f: Mapping[str, Any], key: str) -> str:
    return f"{label} {f[key]}" if f.get(key) not in (None, "") else ""


def _joined(parts: list[Any]) -> str:
    return ", ".join(str(part) for part in parts if part not in (None, ""))
