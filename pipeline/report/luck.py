"""The section about luck: what the figures prove after all that was tried, in sentences first."""

from collections.abc import Mapping
from typing import Any

from pipeline.report import text
from pipeline.report.data import ReportData
from pipeline.report.html import columns, escape, key_values, note, section


def luck(data: ReportData) -> str:
    """Deflated Sharpe ratio, overfitting, random entries, buy & hold; each as a sentence and as figures."""
    found, title = data.metrics.get("significance"), "Skill or luck"
    if found is None:
        return section("luck", title, note(f"Not judged. Run `{data.stage('simulate')}`, then `{data.command}`."))
    lead = (
        f"Of the {text.number(found['n'])} daily returns {text.in_words(data.metrics, found['part'])}; Sharpe "
        "ratios here are of those returns, for a year. Every parameter set that was ever simulated for this config "
        "counts as a trial, also those of earlier runs."
    )
    sentences = (escape(text.typeset(sentence)) for sentence in found["sentences"])
    said = f'<ul class="luck">{"".join(f"<li>{sentence}</li>" for sentence in sentences)}</ul>'
    title += ", in sample" if data.metrics.get("in_sample") else ""
    return section("luck", title, said, columns(key_values(_record(found)), key_values(_search(found))), lead=lead)


def _record(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        ("Sharpe ratio", text.number(found["sharpe"])),
        ("skew, kurtosis", f"{text.number(found['skew'])}, {text.number(found['kurtosis'], 1)}"),
        ("PSR, as if it were the only trial", text.number(found["psr"])),
        ("DSR, after all trials", f"{text.number(found['dsr'])} (needed: {found['confidence']:g})"),
        ("MinTRL, as the only trial", "never" if found["min_trl"] is None else _years(found["min_trl"] / 365)),
        ("MinBTL, of the best of so many", _years(found["min_btl_years"] or None)),
    ]


def _search(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    sample, pbo = found["grid_sample"], found["overfitting"]
    rows = [
        ("trials", text.number(found["n_trials"])),
        ("independent ones", text.number(found["n_effective"], 1)),
        ("Sharpe ratio by luck alone", text.number(found["sr0"])),
        ("their ratios scatter by", text.number(found["trial_std"])),
    ]
    if sample:
        rows.append(
            ("sets of the grid looked at", f"{sample['traded']:,} of {sample['sets']:,}, {sample['clusters']} clusters")
        )
    if pbo:
        confidence = text.percent(pbo["confidence"], 0, sign=False)
        interval = f"{confidence} interval {pbo['low']:.2f} to {pbo['high']:.2f}"
        rows += [
            ("PBO", f"{pbo['pbo']:.2f}, {interval}"),
            ("the chosen set lost elsewhere", text.percent(pbo["loss"], 0, sign=False)),
        ]
    return rows


def _years(years: float | None) -> str:
    return text.UNKNOWN if years is None else text.duration(years * 365 * 86_400_000)
