"""A few pieces of HTML. Text becomes HTML only through `escape`; the other functions take HTML."""

import re
from collections.abc import Iterable, Sequence
from html import escape as _escape

__all__ = ["card", "chart", "columns", "escape", "key_values", "note", "section", "table"]


def escape(text: object) -> str:
    """Text as HTML, for element content and quoted attributes."""
    return _escape(str(text), quote=True)


def section(anchor: str, title: str, *parts: str, lead: str = "") -> str:
    """A part of the page with a heading; `title` and `lead` are text."""
    intro = f'<p class="lead">{escape(lead)}</p>' if lead else ""
    return f'<section id="{anchor}"><h2>{escape(title)}</h2>{intro}{"".join(parts)}</section>'


def note(text: str, kind: str = "empty") -> str:
    """A remark instead of, or below, figures; `commands` in it are set as code."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    return f'<p class="note {kind}">{marked}</p>'


def chart(anchor: str, kind: str, label: str) -> str:
    """The place of a chart, of fixed height, so that nothing moves when it is drawn."""
    place = escape(anchor)
    return (
        f'<div class="chart {kind}" id="{place}" data-figure="{place}" role="img" aria-label="{escape(label)}"></div>'
    )


def card(label: str, value: str, beside: str = "", tone: str = "") -> str:
    """One headline figure; all texts."""
    below = f'<span class="beside">{escape(beside)}</span>' if beside else ""
    return (
        f'<div class="card"><span class="label">{escape(label)}</span>'
        f'<span class="value {tone}">{escape(value)}</span>{below}</div>'
    )


def columns(*parts: str, kind: str = "") -> str:
    """Parts side by side where there is room."""
    return f'<div class="columns {kind}">{"".join(f"<div>{part}</div>" for part in parts)}</div>'


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    kind: str = "",
    caption: str = "",
    groups: Sequence[tuple[str, int]] = (),
) -> str:
    """A table with a header row; the first column names the row. `head` is text, cells are HTML.

    groups: names above the second column and those after it, and how many columns each spans.
    """
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    if groups:
        above = "".join(f'<th scope="colgroup" colspan="{span}">{escape(name)}</th>' for name, span in groups)
        top = f"<td></td>{above}</tr><tr>{top}"
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table class="{kind}">{title}<thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def key_values(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values, both text."""
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs)
    return f"<dl>{rows}</dl>"
