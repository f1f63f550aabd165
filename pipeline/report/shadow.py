"""The section of the shadow run: what the same strategy did bar by bar, where no future was there to be seen."""

from pipeline.report import text
from pipeline.report.data import ReportData
from pipeline.report.html import key_values, note, section, table
from pipeline.report.text import parse_ms

LISTED = 100


def shadow(data: ReportData) -> str:
    """Where and when it ran, and its trades; empty if `pipeline serve` has not run."""
    run = data.shadow
    if run is None:
        return ""
    where = "on a local exchange that repeated the stored bars" if run.rehearsed else "on the live market"
    lead = (
        f"The strategy followed {run.bars:,} bars from {text.clock(run.first_ms)} to {text.clock(run.last_ms)} "
        f"{where}, one at a time, and traded them on paper with the same core."
    )
    if run.trades and run.trained_until_ms is not None and run.first_ms < run.trained_until_ms:
        lead += " Its models had learned from some of these bars: IN SAMPLE."
    facts = [
        ("bundle", run.bundle),
        ("equity", f"{text.number(run.first_equity)} to {text.number(run.last_equity)}"),
        ("bars acted on too late", f"{run.late:,}"),
        ("decision, median", f"{run.latency_ms:.2f} ms after the bar was there"),
        ("trades", f"{len(run.trades):,}"),
    ]
    parts = [key_values(facts)]
    if not run.trades:
        parts.append(note("No score reached the thresholds in this time.", "plain"))
    else:
        rows = [
            [
                text.clock(parse_ms(str(one["entry_time"]))), one["symbol"], text.price(one["entry_price"]),
                text.clock(parse_ms(str(one["exit_time"]))), text.price(one["exit_price"]),
                text.percent(one["return"], 2), text.number(one["pnl"]), one["exit_reason"].replace("_", " "),
            ]
            for one in run.trades[-LISTED:]
        ]  # fmt: skip
        head = ["Entry", "Symbol", "Price", "Exit", "Price", "Return", "Profit", "Reason"]
        shown = f"The last {LISTED} of {len(run.trades):,}" if len(run.trades) > LISTED else "All of them"
        parts.append(table(head, rows, caption=f"Trades of the shadow run. {shown}"))
    store = f" --store data/{data.metrics['name']}/serve/rehearsal/journal.sqlite" if run.rehearsed else ""
    hint = f"`{data.stage('shadow-report')}{store}` compares this with a simulation of the same bars."
    return section("shadow", "Shadow run", *parts, note(hint, "plain"), lead=lead)
