"""Figures and dates as people write them, and the verdict in a sentence."""

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any

UNKNOWN = "–"
MINUS = "−"
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def percent(fraction: float | None, digits: int = 1, sign: bool = True) -> str:
    """0.1234 → '+12.3 %'; None → a dash. What rounds to zero has no sign."""
    if fraction is None:
        return UNKNOWN
    text = f"{abs(fraction) * 100:,.{digits}f} %"
    if not text.strip("0., %"):
        return text
    return (MINUS if fraction < 0 else "+" if sign else "") + text


def number(value: float | int | None, digits: int = 2) -> str:
    """A figure with thousands separated and a true minus; whole numbers stay whole."""
    if value is None:
        return UNKNOWN
    text = f"{abs(value):,}" if isinstance(value, int) else f"{abs(value):,.{digits}f}"
    return (MINUS if value < 0 and text.strip("0.,") else "") + text


def typeset(sentence: str) -> str:
    """A sentence as `metrics.json` has it, its figures written as on the rest of the page: '4 %', '−0.31'."""
    return re.sub(r"(?<![\w.])-(?=\d)", MINUS, re.sub(r"(?<=\d)%", " %", sentence))


def price(value: float) -> str:
    """A price with as many decimals as its size asks for."""
    return number(float(value), 2 if abs(value) >= 100 else 4 if abs(value) >= 1 else 8)


def parse_ms(iso: str) -> int:
    """Milliseconds since the epoch of an ISO time in UTC."""
    return round(dt.datetime.fromisoformat(iso).timestamp() * 1000)


def moment(time_ms: int) -> dt.datetime:
    """A time in UTC."""
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC)


def day(time_ms: int) -> str:
    """'5 Mar 2024'."""
    t = moment(time_ms)
    return f"{t.day} {MONTHS[t.month - 1]} {t.year}"


def clock(time_ms: int) -> str:
    """'2024-03-05 14:30'."""
    return moment(time_ms).strftime("%Y-%m-%d %H:%M")


def iso(time_ms: int) -> str:
    """'2024-03-05T14:30:00Z'."""
    return moment(time_ms).strftime("%Y-%m-%dT%H:%M:%SZ")


def duration(milliseconds: float) -> str:
    """A span of time in one unit: '6 h', '2.5 d', '1,957 d'."""
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if milliseconds >= length:
            count = milliseconds / length
            return f"{count:,.0f} {unit}" if count >= 100 else f"{count:.3g} {unit}"
    return f"{milliseconds / 1000:.3g} s"


def part_range(metrics: Mapping[str, Any], part: str) -> tuple[int, int]:
    """First and last millisecond of a part of the simulation."""
    start, end = parse_ms(metrics["period"]["start"]), parse_ms(metrics["period"]["end"]) - 1
    if part == "all" or not metrics.get("split_time"):
        return start, end
    split = parse_ms(metrics["split_time"])
    return (start, split - 1) if part == "selection" else (split, end)


def in_words(metrics: Mapping[str, Any], part: str) -> str:
    """'from 1 Jul 2023 to 31 Dec 2023'."""
    first, last = part_range(metrics, part)
    return f"from {day(first)} to {day(last)}"


def random_rivals(metrics: Mapping[str, Any]) -> tuple[int, int] | None:
    """Of how many random strategies how many did at least as well; None if none were run."""
    random = metrics.get("random_entry")
    if not random or random.get("p_value") is None or not random.get("n"):
        return None
    # The p-value counts the strategy among its rivals.
    return round(random["p_value"] * (random["n"] + 1)) - 1, random["n"]


def verdict(metrics: Mapping[str, Any]) -> str:
    """What came of it, in a sentence or two of plain words."""
    part, headline = metrics["headline_part"], metrics["headline"]
    when = in_words(metrics, part)
    held = f"buy & hold made {percent(metrics['buy_and_hold'][part]['total_return'])}"
    if not headline["trades"]:
        return f"The strategy made no trades {when}, so it earned nothing; {held}."
    said = f"After costs the strategy made {percent(headline['total_return'])} {when}; {held}"
    rivals = random_rivals(metrics)
    if rivals is None:
        return f"{said}."
    return f"{said}; {rivals[0]:,} of {rivals[1]:,} random strategies with the same exposure did at least as well."


def meaning(metrics: Mapping[str, Any]) -> tuple[str, str]:
    """How far the headline may be trusted: 'bad', 'fair' or 'good', and why."""
    headline = metrics["headline"]
    made, held = headline["total_return"], metrics["buy_and_hold"][metrics["headline_part"]]["total_return"]
    p = (metrics.get("random_entry") or {}).get("p_value")
    shown = "" if p is None else f"(p = {p:.3f})"
    verdicts = (
        (metrics.get("in_sample"), "bad", "In sample: the models saw these bars in training. This is no evidence."),
        (not headline["trades"], "bad", "Nothing was traded, so nothing is shown."),
        (p is not None and p > 0.05, "bad", f"No better than luck: entering at random did as well too often {shown}."),
        (made <= 0, "bad", "It lost money after costs."),
        *_luck(metrics.get("significance")),
        (p is None, "fair", "Whether it is more than luck was not tested: no random strategies were run."),
        (made < held, "fair", f"Its entries were better than random ones {shown}, but holding earned more."),
    )
    otherwise = ("good", f"Better than luck explains {shown} and than holding, on this one stretch of history.")
    return next(((mood, why) for true, mood, why in verdicts if true), otherwise)


def _luck(significance: Mapping[str, Any] | None) -> list[tuple[bool, str, str]]:
    # Better than random entries is not enough for the best of many tries.
    if not significance or significance["passes"]:
        return []
    unlikely = (significance["dsr"] or 0.0) < 0.5
    return [(True, "bad" if unlikely else "fair", typeset(significance["sentence"]))]


def warnings(metrics: Mapping[str, Any]) -> list[str]:
    """What a reader must know before believing the figures."""
    found = []
    trades = metrics["headline"]["trades"]
    if metrics.get("in_sample"):
        found.append("In sample: the models were trained on some of these bars. Use walk-forward scores instead.")
    if 0 < trades < 100:
        found.append(f"Only {trades} trades in the part shown: as many again could come out quite differently.")
    if metrics["headline_part"] == "all" and metrics.get("split_time"):
        found.append("The thresholds are the config's: if they were set by looking at these figures, those flatter.")
    elif metrics["headline_part"] == "all":
        found.append("There is no separate evaluation part: thresholds set by looking at these figures flatter them.")
    elif metrics["thresholds"]["chosen_by"] == "config":
        found.append("No pair of thresholds qualified in the selection part, so those of the config were traded.")
    counts = metrics.get("counts", {})
    if ambiguous := counts.get("ambiguous_bars"):
        found.append(
            f"In {ambiguous:,} bars stop and target both lay inside the bar; which came first was assumed, not known."
        )
    if (filled := counts.get("filled_bars")) and counts.get("bars") and filled / counts["bars"] > 0.01:
        found.append(
            f"{percent(filled / counts['bars'], sign=False)} of the bars were missing at the source and made up."
        )
    return found
