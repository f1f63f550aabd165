"""The sections about rules: what became of each signal, where costs went, how trades moved, and the stress table."""

from typing import Any

import numpy as np

from pipeline.report import text
from pipeline.report.data import ReportData
from pipeline.report.html import columns, escape, key_values, note, section, table
from pipeline.trading.reasons import BREAKERS, REASONS


def rules(data: ReportData) -> str:
    """Signals by what became of them, costs by kind and symbol, excursions."""
    m = data.metrics
    signals = m["signals"]
    total = signals["asked"]
    rows = [("traded", REASONS["traded"], signals["traded"])]
    rows += [(word, REASONS[word], count) for word, count in signals["refused"].items()]
    body = [
        [escape(word.replace("_", " ")), escape(sentence), f"{count:,}", text.percent(count / total, 0, sign=False)]
        for word, sentence, count in rows
        if count
    ]
    lead = _lead(m)
    if not total:
        return section("rules", "Rules", note("No signal came while a position could be opened."), lead=lead)
    blocks = [table(["Signal", "Why", "Signals", "Share"], body, kind="words")]
    costs = [
        [escape("all symbols" if name == "all" else name), *(text.number(paid[key]) for key in _KINDS)]
        for name, paid in m["costs_paid"].items()
        if name != "all" or len(m["symbols"]) > 1
    ]
    caption = "Costs of the trades, quote asset; spread and slippage are in the prices already"
    blocks.append(table(["", "Fees", "Spread", "Slippage", "Funding"], costs, caption=caption))
    if data.trades.num_rows:
        blocks.append(columns("<h3>How trades moved before they ended</h3>" + key_values(_excursions(data))))
    return section("rules", "Rules and costs", *blocks, lead=lead)


_KINDS = ("fees", "spread", "slippage", "funding")


def _lead(m: Any) -> str:
    signals = m["signals"]
    said = f"{signals['asked']:,} signals while no position was open: {signals['traded']:,} became trades"
    refused = signals["asked"] - signals["traded"]
    said += f", {refused:,} were refused." if refused else "; none was refused."
    if signals["breaker_trips"]:
        said += f" Breakers stopped trading {signals['breaker_trips']:,} times."
    if signals["halted_at_the_end_by"]:
        said += f" It was still stopped at the end: {BREAKERS[signals['halted_at_the_end_by']]}."
    prices = m.get("liquidation_price") or {}
    by_last = [symbol for symbol, price in prices.items() if price == "last"]
    if prices and not by_last:
        said += " Positions are liquidated by the mark price."
    elif prices:
        whose = "" if len(by_last) == len(prices) else f" of {', '.join(by_last)}"
        said += f" Positions{whose} are liquidated by the last price: no mark price is known."
    if m["counts"]["ambiguous_bars"]:
        said += f" {m['counts']['ambiguous_bars']:,} bars reached stop and target both; the order was assumed."
    return said


def _excursions(data: ReportData) -> list[tuple[str, str]]:
    worst, best = (data.trades[name].to_numpy() for name in ("mae", "mfe"))
    won = data.trades["pnl"].to_numpy() > 0
    result = [
        ("worst before the end, median", text.percent(float(np.median(worst)), 2)),
        ("worst, one in twenty", text.percent(float(np.quantile(worst, 0.05)), 2)),
        ("best before the end, median", text.percent(float(np.median(best)), 2)),
    ]
    if won.any():
        result.append(("worst of the trades that won, median", text.percent(float(np.median(worst[won])), 2)))
    if (~won).any():
        result.append(("best of the trades that lost, median", text.percent(float(np.median(best[~won])), 2)))
    return result


def stress(data: ReportData) -> str:
    """The table of stress runs; empty where none were made."""
    outcomes = data.metrics.get("stress")
    if not outcomes:
        said = f"No table of stress yet. Run `{data.stage('simulate')} --stress`, then `{data.command}`."
        return section("stress", "Stress", note(said))
    rows = [
        [
            escape(row["name"]) + (f" <small>{row['paths']} paths</small>" if row["paths"] > 1 else ""),
            escape(row["what"]),
            text.percent(row["total_return"]),
            text.percent(row["total_return_5pct"]) if row["total_return_5pct"] is not None else "",
            text.percent(row["max_drawdown"]),
            text.percent(row["max_drawdown_5pct"]) if row["max_drawdown_5pct"] is not None else "",
            text.number(round(row["trades"])),
            text.percent(row["losing_share"], 0, sign=False) if row["losing_share"] is not None else "",
        ]
        for row in outcomes
    ]
    head = ["Run", "What is different", "Return", "worst 5 %", "Drawdown", "worst 5 %", "Trades", "Lost"]
    lead = (
        "The same signals over the whole range, where trading is dearer, later or unreliable, and on other histories."
    )
    return section("stress", "Stress", table(head, rows, kind="words"), lead=lead)
