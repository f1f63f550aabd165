"""The sections that let a reader trust and repeat the rest: gaps in the data, config, hashes, versions."""

from collections.abc import Mapping

from pipeline.report import text
from pipeline.report.data import ReportData
from pipeline.report.html import escape, key_values, note, section, table

LISTED_GAPS = 100


def gaps(data: ReportData) -> str:
    """Bars that were missing at the source."""
    if data.gaps is None:
        run = f"Run `{data.stage('merge')}`, then `{data.command}`."
        return section("gaps", "Gaps in the data", note(f"There is no gaps.json. {run}"))
    found = [(symbol, gap) for symbol, told in data.gaps.items() for gap in told["gaps"]]
    if not found:
        return section("gaps", "Gaps in the data", note("None: every bar was there.", "plain"))
    found.sort(key=lambda item: (-item[1]["bars"], item[0], item[1]["start"]))
    rows = [
        [
            escape(symbol),
            text.clock(text.parse_ms(gap["start"])),
            text.clock(text.parse_ms(gap["end"])),
            text.number(int(gap["bars"])),
        ]
        for symbol, gap in found[:LISTED_GAPS]
    ]
    missing = sum(int(gap["bars"]) for _, gap in found)
    lead = (
        f"{missing:,} bars in {len(found):,} gap{'s' if len(found) > 1 else ''} were missing at the source and carried "
        "forward with volume 0. "
        "There is no signal on them and nothing is filled in them."
    )
    more = (
        "" if len(found) <= LISTED_GAPS else note(f"The longest {LISTED_GAPS} of {len(found):,} are listed.", "plain")
    )
    return section(
        "gaps", "Gaps in the data", table(["Symbol", "From", "To", "Bars"], rows, kind="compact"), more, lead=lead
    )


def provenance(data: ReportData) -> str:
    """How to get the same report again."""
    trials = data.metrics["trials"]
    facts = [("made by", data.command), ("parameter sets tried here", text.number(trials))]
    if data.manifest is not None:
        trained = data.manifest["train"]
        facts += [
            ("models trained on", f"{trained['rows']:,} rows, {trained['start'][:10]} to {trained['end'][:10]}"),
            ("features", text.number(len(data.manifest["features"]))),
        ]
    blocks = [key_values(facts)]
    blocks.append(_listing("Versions", data.versions))
    blocks.append(_listing("Hashes (SHA-256)", data.hashes))
    title = "Config as resolved, defaults included"
    config = f"<details><summary>{title}</summary><pre>{escape(data.config_yaml)}</pre></details>"
    pictures = ", ".join(f'<a href="{escape(name)}">{escape(name)}</a>' for name in data.images)
    files = f'<p class="small">Pictures beside this page: {pictures}.</p>' if pictures else ""
    lead = "The same config, data and code give this page again, byte for byte"
    lead += ", but for how long the shadow run's decisions took." if data.shadow else "."
    return section("provenance", "How it was made", *blocks, config, files, lead=lead)


def _listing(title: str, values: Mapping[str, str]) -> str:
    if not values:
        return ""
    return f'<details class="mono"><summary>{escape(title)}</summary>{key_values(values.items())}</details>'
