"""The sections about money: headline, figures by part, price, equity, months, thresholds, trades."""

from typing import Any

import numpy as np

from pipeline.config import interval_ms
from pipeline.report import text
from pipeline.report.data import ReportData
from pipeline.report.html import card, chart, columns, escape, key_values, note, section, table

LISTED_TRADES = 500
PARTS = {
    "evaluation": "evaluation part",
    "selection": "selection part (thresholds were chosen here)",
    "all": "whole range",
}
# Key, name, how it is written.
FIGURES = (
    ("total_return", "Total return", "percent"),
    ("annual_return", "Annual return", "percent"),
    ("volatility", "Volatility a year", "share"),
    ("sharpe", "Sharpe ratio", "number"),
    ("sortino", "Sortino ratio", "number"),
    ("calmar", "Calmar ratio", "number"),
    ("max_drawdown", "Deepest drawdown", "percent"),
    ("max_drawdown_bars", "Length of that drawdown", "bars"),
    ("trades", "Trades", "number"),
    ("win_rate", "Won", "share"),
    ("profit_factor", "Profit factor", "number"),
    ("expectancy", "Mean return of a trade", "percent2"),
    ("exposure", "Time in the market", "share"),
    ("turnover", "Turnover a year, times equity", "number"),
    ("avg_bars_held", "Mean holding time", "bars"),
    ("fees", "Fees, quote asset", "number"),
)
NAMES = {key: name for key, name, _ in FIGURES}
SYMBOL_FIGURES = ("total_return", "sharpe", "max_drawdown", "trades", "win_rate", "profit_factor", "exposure", "fees")


def header(data: ReportData) -> str:
    """Name, what was tested, the verdict, the headline figures."""
    m = data.metrics
    part = m["headline_part"]
    mood, why = text.meaning(m)
    first, last = text.part_range(m, "all")
    facts = (
        ", ".join(m["symbols"]) + (", a synthetic market" if data.synthetic else ""),
        f"{m['interval']} bars",
        f"{text.day(first)} to {text.day(last)}, UTC",
        f"{m['period']['bars']:,} bars",
        "in sample" if m.get("in_sample") else data.traded_on,
    )
    meta = " · ".join(escape(fact) for fact in facts)
    named = "" if data.title == m["name"] else f" of {escape(m['name'])}"
    return (
        f'<header><p class="eyebrow">Backtest{named}</p><h1>{escape(data.title)}</h1>'
        f'<p class="meta">{meta}</p>'
        f'<p class="verdict">{escape(text.verdict(m))}</p><p class="mood {mood}">{escape(why)}</p></header>'
        f'<h2 class="cards-title">{escape(PARTS[part][0].upper() + PARTS[part][1:])}'
        f"<small>{escape(text.in_words(m, part))}{', in sample' if m.get('in_sample') else ''}</small></h2>"
        f'<div class="cards">{_cards(m, part)}</div>{_other_parts(m, part)}{_warnings(data)}'
    )


def _cards(m: Any, part: str) -> str:
    own, hold = m["headline"], m["buy_and_hold"][part]
    made = own["total_return"]
    rivals = text.random_rivals(m)
    p = m["random_entry"]["p_value"] if rivals else None
    return "".join(
        [
            card("Total return", text.percent(made), _held(text.percent(hold["total_return"])), _tone(made)),
            card("Sharpe ratio", text.number(own["sharpe"]), _held(text.number(hold["sharpe"]))),
            card("Deepest drawdown", text.percent(own["max_drawdown"]), _held(text.percent(hold["max_drawdown"]))),
            card("Trades", text.number(own["trades"]), f"{text.percent(own['win_rate'], 0, sign=False)} won"),
            card("Profit factor", text.number(own["profit_factor"]), f"{text.percent(own['expectancy'], 2)} a trade"),
            card(
                "Luck: p-value",
                text.number(p, 3),
                f"{rivals[0]:,} of {rivals[1]:,} random did as well" if rivals else "no random strategies were run",
            ),
        ]
    )  # fmt: skip


def _other_parts(m: Any, part: str) -> str:
    if "selection" not in m["parts"]:
        return ""
    other = "selection" if part == "evaluation" else "evaluation"
    own, hold = m["parts"][other], m["buy_and_hold"][other]
    figures = (
        f"return {text.percent(own['total_return'])} (buy & hold {text.percent(hold['total_return'])}), "
        f"Sharpe {text.number(own['sharpe'])}, drawdown {text.percent(own['max_drawdown'])}, "
        f"{text.number(own['trades'])} trades"
    )
    warning = (
        "Thresholds were chosen here, so these figures flatter." if other == "selection" else "Not used in the choice."
    )
    name = PARTS[other].partition(" (")[0]
    return (
        f'<p class="other"><strong>{escape(name[0].upper() + name[1:])}</strong> {escape(text.in_words(m, other))}: '
        f"{escape(figures)}. <em>{escape(warning)}</em></p>"
    )


def _warnings(data: ReportData) -> str:
    found = text.warnings(data.metrics)
    items = "".join(f"<li>{escape(warning)}</li>" for warning in found)
    return f'<ul class="warnings" aria-label="Warnings">{items}</ul>' if found else ""


def figures(data: ReportData) -> str:
    """Every metric, of each part, beside buy & hold; then by symbol."""
    m = data.metrics
    step = interval_ms(m["interval"])
    order = [m["headline_part"], *(p for p in ("evaluation", "selection", "all") if p != m["headline_part"])]
    parts = [part for part in order if part in m["parts"]]
    groups = [(PARTS[part][0].upper() + PARTS[part][1:], 2) for part in parts]
    head = ["", *("Strategy", "Buy & hold") * len(parts)]
    pairs = [(m["parts"][part], m["buy_and_hold"][part]) for part in parts]
    rows = [
        [name, *(_written(side.get(key), how, step) for pair in pairs for side in pair)]
        for key, name, how in FIGURES
    ]  # fmt: skip
    blocks = [table(head, rows, kind="figures", groups=groups)]
    if len(m["symbols"]) > 1:
        shown = [entry for entry in FIGURES if entry[0] in SYMBOL_FIGURES]
        by_symbol = [
            [escape(symbol), *(_written(own.get(key), how, step) for key, _, how in shown)]
            for symbol, own in m["by_symbol"].items()
        ]
        caption = f"By symbol, {PARTS[m['headline_part']]}, equal capital in each"
        blocks.append(table(["", *(name for _, name, _ in shown)], by_symbol, caption=caption))
    lead = "After fees and slippage. Annual figures count 365 days, as this market never closes."
    return section("figures", _title(data, "Figures"), *blocks, lead=lead)


def price(data: ReportData) -> str:
    """Candles with the trades of one symbol at a time."""
    symbols = list(data.candles)
    options = "".join(f'<option value="price-{escape(s)}">{escape(s)}</option>' for s in symbols)
    chooser = f'<label class="tool">Symbol <select data-shows="price">{options}</select></label>' if symbols[1:] else ""
    charts = "".join(
        f'<div class="panel" data-group="price" data-panel="price-{escape(s)}"{" hidden" if number else ""}>'
        + chart(f"price-{s}", "tall", f"Price of {s} with entries and exits")
        + f'<p class="small">Each candle is {escape(length)}.{_marks(data, s)}</p></div>'
        for number, (s, (_, length)) in enumerate(data.candles.items())
    )
    lead = (
        "Triangles are entries, dots are exits, both with their details on hover. Drag to zoom, double-click to reset."
    )
    return section("price", _title(data, "Price and trades"), chooser, charts, lead=lead)


def _marks(data: ReportData, symbol: str) -> str:
    from pipeline.report.figures import MARKED_TRADES

    n = int(np.count_nonzero(data.trades["symbol"].to_numpy(zero_copy_only=False) == symbol))
    if n == 0:
        return " There were no trades."
    return f" The last {MARKED_TRADES:,} of {n:,} trades are marked." if n > MARKED_TRADES else ""


def equity(data: ReportData) -> str:
    """Equity and drawdown; the scale of the first can be switched."""
    switch = '<label class="tool"><input type="checkbox" data-log="equity"> logarithmic</label>'
    label = "Equity and drawdown of the strategy and of buy and hold"
    return section("equity-section", _title(data, "Equity and drawdown"), switch, chart("equity", "tall", label))


def months(data: ReportData) -> str:
    """Return of each month, years by months, as a table with coloured cells."""
    by_month: dict[str, float] = data.metrics["by_month"]
    limit = max((abs(value) for value in by_month.values()), default=0) or 1
    split = data.metrics["split_time"]
    rows = []
    for year in dict.fromkeys(month[:4] for month in by_month):
        own = [by_month.get(f"{year}-{number:02d}") for number in range(1, 13)]
        cells = [_month_cell(value, limit) for value in own]
        total = float(np.prod([1 + value for value in own if value is not None]) - 1)
        rows.append(f'<tr><th scope="row">{year}</th>{"".join(cells)}<td class="total">{text.percent(total)}</td></tr>')
    head = "".join(f'<th scope="col">{name}</th>' for name in ("", *text.MONTHS, "Year"))
    lead = (
        f"Months before {text.day(text.parse_ms(split))} belong to the part that chose the thresholds." if split else ""
    )
    body = f'<table class="months"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    shown = [f'<div class="scroll">{body}</div>', _regimes(data.metrics.get("by_regime") or {})]
    return section("months", _title(data, "Return by month"), *shown, lead=lead)


def _regimes(by_regime: dict[str, dict[str, Any]]) -> str:
    # The same account by what the market had been like.
    rows = [
        (name, text.number(one["days"]), text.percent(one["total_return"]), text.number(one["sharpe"], 2),
         text.percent(one["buy_and_hold"]))
        for name, one in by_regime.items()
    ]  # fmt: skip
    if not rows:
        return ""
    caption = (
        "The whole range by kind of market. Of the 30 days before each day: calm, between and wild are thirds by "
        "volatility; rising or falling is whether holding had gained"
    )
    return table(["Market", "Days", "Return", "Sharpe ratio", "Buy & hold"], rows, caption=caption)


def _in_a_sentence(name: str) -> str:
    # "Total return" becomes small, Sharpe, Sortino and Calmar are people.
    return name if name.rsplit(maxsplit=1)[-1] == "ratio" else name[0].lower() + name[1:]


def _month_cell(value: float | None, limit: float) -> str:
    if value is None:
        return "<td></td>"
    # Strength grows with the root, or one great month leaves the others white.
    strength = round((abs(value) / limit) ** 0.6 * 70)
    tone = "up" if value > 0 else "down"
    return f'<td style="--tone:var(--{tone});--strength:{strength}%">{text.percent(value)}</td>'


def thresholds(data: ReportData) -> str:
    """The searched surface of both parts, with the pair that was traded."""
    m = data.metrics
    used = m["thresholds"]["used"]
    pair = f"buy {_threshold(used['buy'])}, sell {_threshold(used['sell'])}"
    if data.grid is None:
        where = f"Thresholds are those of the config ({pair}); nothing was searched."
        return section(
            "thresholds",
            _title(data, "Thresholds"),
            note(where + " Add simulate.grid to the config, then `pipeline simulate`."),
        )
    searched = m["grid"]
    if m["thresholds"]["chosen_by"] == "grid":
        chosen = f"chosen because its {_in_a_sentence(NAMES[searched['metric']])} was the best in the selection part"
    else:
        chosen = "from the config"
    lead = (
        f"{searched['sets']:,} pairs were tried, {searched['qualified']:,} made enough trades. "
        f"Traded: {pair}, {chosen}. If the two surfaces do not look alike, the choice did not carry over."
    )
    headings = {
        "selection": "Selection part<small>thresholds were chosen here</small>",
        "evaluation": "Evaluation part",
    }
    maps = [
        f"<h3>{heading}</h3>" + chart(f"grid-{part}", "square", f"{searched['metric']} by thresholds, {part} part")
        for part, heading in headings.items()
    ]
    return section("thresholds", _title(data, "Thresholds"), columns(*maps), lead=lead)


def trades(data: ReportData) -> str:
    """Why trades ended, what they cost, and the list."""
    m = data.metrics
    total = data.trades.num_rows
    if total == 0:
        used = m["thresholds"]["used"]
        pair = f"{_threshold(used['buy'])} to buy or {_threshold(used['sell'])} to sell"
        said = f"No trades at all: no score reached {pair}."
        if m["counts"]["buy_signals"] + m["counts"]["sell_signals"]:
            said = "No trades at all, though there were signals: see simulate.direction and the gaps in the data."
        return section("trades", _title(data, "Trades"), note(said))
    reasons = [
        (reason.replace("_", " "), f"{count:,} ({text.percent(count / total, 0, sign=False)})")
        for reason, count in sorted(m["exit_reasons"].items(), key=lambda item: -item[1])
    ]
    blocks = columns(
        "<h3>Why they ended</h3>" + key_values(reasons),
        "<h3>What they cost</h3>" + key_values(_costs(data)),
        "<h3>Signals</h3>" + key_values((name.replace("_", " "), f"{count:,}") for name, count in m["counts"].items()),
    )
    listed = f"The first {LISTED_TRADES:,} of {total:,}" if total > LISTED_TRADES else f"All {total:,}"
    link = '<small><a href="trades.csv">trades.csv</a> beside this page has all of them</small>'
    return section("trades", _title(data, "Trades"), blocks, f"<h3>{listed}{link}</h3>", _trade_list(data))


def _costs(data: ReportData) -> list[tuple[str, str]]:
    costs, fees = data.metrics["costs"], float(np.sum(data.trades["fees"].to_numpy()))
    gross = float(np.sum(data.trades["pnl"].to_numpy())) + fees
    qty = data.trades["qty"].to_numpy()
    notional = float((qty * (data.trades["entry_price"].to_numpy() + data.trades["exit_price"].to_numpy())).sum())
    return [
        ("profit before fees", text.number(gross)),
        ("fees", text.number(fees)),
        ("profit after fees", text.number(gross - fees)),
        ("traded, quote asset", text.number(notional, 0)),
        ("taker fee", text.percent(costs["taker_fee"], 3, sign=False)),
        ("maker fee", text.percent(costs["maker_fee"], 3, sign=False)),
        ("slippage, half spread", f"{costs['slippage_bps']:g} + {costs['spread_bps'] / 2:g} bps a fill, in the prices"),
    ]


def _trade_list(data: ReportData) -> str:
    split = data.split_ms
    several = len(data.metrics["symbols"]) > 1
    head = ["Entry", *(["Symbol"] if several else []), "Side", "Price", "Exit", "Price", "Return", "Profit", "Reason"]
    head += ["Bars", "Worst", "Best", *(["Part"] if split else [])]
    rows = []
    for row in data.trades.slice(0, LISTED_TRADES).to_pylist():
        entry, exit_ = (round(row[name].timestamp() * 1000) for name in ("entry_time", "exit_time"))
        tone = "up" if row["pnl"] > 0 else "down"
        cells = [
            _cell(entry, text.clock(entry)),
            *([_cell(row["symbol"], row["symbol"])] if several else []),
            _cell(row["side"], row["side"]),
            _cell(row["entry_price"], text.price(row["entry_price"])),
            _cell(exit_, text.clock(exit_)),
            _cell(row["exit_price"], text.price(row["exit_price"])),
            _cell(row["return"], text.percent(row["return"], 2), tone),
            _cell(row["pnl"], text.number(row["pnl"]), tone),
            _cell(row["exit_reason"], row["exit_reason"].replace("_", " ")),
            _cell(row["bars_held"], text.number(row["bars_held"])),
            _cell(row["mae"], text.percent(row["mae"], 2)),
            _cell(row["mfe"], text.percent(row["mfe"], 2)),
        ]
        if split:
            part = "selection" if exit_ < split else "evaluation"
            cells.append(_cell(part, part))
        rows.append(f"<tr>{''.join(cells)}</tr>")
    top = "".join(
        f'<th scope="col" aria-sort="none"><button type="button" data-column="{number}">{name}</button></th>'
        for number, name in enumerate(head)
    )
    return (
        '<div class="scroll list" tabindex="0" role="region" aria-label="List of trades">'
        f'<table class="sortable trades"><thead><tr>{top}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _cell(value: object, shown: str, tone: str = "") -> str:
    # The value itself is for sorting.
    kind = f' class="{tone}"' if tone else ""
    return f'<td{kind} data-value="{escape(value)}">{escape(shown)}</td>'


def _written(value: float | int | None, how: str, step_ms: int) -> str:
    if how == "percent":
        return text.percent(value)
    if how == "percent2":
        return text.percent(value, 2)
    if how == "share":
        return text.percent(value, sign=False)
    if how == "bars":
        return text.UNKNOWN if value is None else text.duration(value * step_ms)
    return text.number(value)


def _title(data: ReportData, title: str) -> str:
    return f"{title}, in sample" if data.metrics.get("in_sample") else title


def _threshold(value: float) -> str:
    return f"{value:.4g}".replace("-", text.MINUS)


def _tone(value: float) -> str:
    # What rounds to zero is neither.
    return "" if abs(value) < 0.0005 else "up" if value > 0 else "down"


def _held(figure: str) -> str:
    return f"buy & hold {figure}"
