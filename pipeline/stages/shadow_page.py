"""The shadow report as text for a terminal, and as one HTML file that needs nothing else."""

import math
from importlib.resources import files
from typing import TYPE_CHECKING

from pipeline.evaluation.shadow import Spread, spread
from pipeline.report import html
from pipeline.stages.times import iso

if TYPE_CHECKING:
    from pipeline.stages.shadow_report import Report

_PARTS = {
    "sent": "decided → {leg} sent",
    "answered": "{leg} sent → answered",
    "filled": "{leg} sent → filled",
    "whole": "bar closed → {leg} filled",
}
_PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    '<meta name="viewport" content="width=device-width"><style>{style}</style></head>'
    "<body><main><h1>{title}</h1>{body}</main></body></html>\n"
)


def table(report: "Report") -> str:
    """The pass/fail table, and the figures below it."""
    figures = _figures(report)
    width = max(len(name) for name in [*(check.name for check in report.checks), *(name for name, _ in figures)])
    found = max(len(check.found) for check in report.checks)
    lines = [f"shadow-report: {'PASS' if report.passed else 'FAIL'} ({_span(report)})"]
    for check in report.checks:
        word = "pass" if check.passed else "FAIL"
        lines.append(f"  {word}  {check.name:<{width}}  {check.found:<{found}}  {check.wanted}".rstrip())
    for name, values in figures:
        lines.append(f"        {name:<{width}}  {values}")
    return "\n".join(lines)


def page(title: str, report: "Report") -> str:
    """The page. The same report gives the same bytes."""
    rows = [
        (
            "pass" if check.passed else "<strong>FAIL</strong>",
            *map(html.escape, (check.name, check.found, check.wanted)),
        )
        for check in report.checks
    ]
    trades = report.run.trades
    parts = [
        html.section("checks", "Checks", html.table(("", "check", "found", "wanted"), rows)),
        html.section("figures", "Figures", html.key_values(_figures(report))),
    ]
    pairs = [
        (
            html.escape(pair.realised["symbol"]),
            html.escape(pair.realised["side"]),
            iso(int(pair.realised["entry_time"])),
            f"{pair.realised['entry_price']:.8g}",
            f"{pair.simulated['entry_price']:.8g}",
            f"{pair.entry_bps:+.2f}",
            f"{pair.realised['exit_price']:.8g}",
            f"{pair.simulated['exit_price']:.8g}",
            f"{pair.exit_bps:+.2f}",
        )
        for pair in trades.pairs
    ]
    head = ("symbol", "side", "entry", "entry price", "simulated", "bps", "exit price", "simulated", "bps")
    if pairs:
        parts.append(html.section("matched", "Trades in both", html.table(head, pairs)))
    for anchor, name, listed in (
        ("missed", "Missed: simulated, not realised", trades.missed),
        ("extra", "Extra: realised, not simulated", trades.extra),
    ):
        if listed:
            cells = [
                (html.escape(one["symbol"]), html.escape(one["side"]), iso(int(one["entry_time"])), f"{one['pnl']:.6g}")
                for one in listed
            ]
            parts.append(html.section(anchor, name, html.table(("symbol", "side", "entry", "pnl"), cells)))
    style = (files("pipeline.report") / "assets" / "report.css").read_text(encoding="utf-8")
    name = html.escape(f"{title}: {report.run.mode} against simulation")
    lead = html.note(f"{'All checks pass' if report.passed else 'A check fails'}: {_span(report)}.", "lead")
    return _PAGE.format(title=name, style=style, body=lead + "".join(parts))


def _span(report: "Report") -> str:
    run = report.run
    return f"{run.mode}, {run.bars:,} bars, {iso(report.first_ms)} to {iso(report.last_ms)}"


def _figures(report: "Report") -> list[tuple[str, str]]:
    trades = report.run.trades
    figures = [
        ("bundles", ", ".join(report.bundles)),
        ("trades", f"{len(trades.pairs)} in both, {len(trades.missed)} missed, {len(trades.extra)} extra"),
        ("entries worse by, bps", _shown(spread([pair.entry_bps for pair in trades.pairs]))),
        ("exits worse by, bps", _shown(spread([pair.exit_bps for pair in trades.pairs]))),
        ("bar closed → decided, ms", _shown(report.decided)),
    ]
    figures += [
        (_PARTS[part].format(leg=leg) + ", ms", _shown(one))
        for leg, parts in report.latency.items()
        for part, one in parts.items()
    ]
    figures += [
        (
            f"shortfall of {leg}, bps",
            f"slippage {one.realised:+.2f} (expected {one.expected:.2f}), fees {one.fees:.2f}, unfilled"
            f" {one.unfilled:+.2f} over {one.orders} orders",
        )
        for leg, one in report.costs.items()
    ]
    return figures


def _shown(one: Spread) -> str:
    if not one.count or math.isnan(one.mean):
        return "none"
    return f"p50 {one.p50:.2f}, p95 {one.p95:.2f}, p99 {one.p99:.2f}, mean {one.mean:.2f} of {one.count:,}"
