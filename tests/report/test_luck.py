"""The section about luck says what was found, and the verdict heeds it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report.artifacts import config, write_run

from pipeline.artifacts import Layout
from pipeline.report import luck, page, text
from pipeline.report.data import ReportData
from pipeline.stages import output


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    folder = tmp_path_factory.mktemp("run")
    layout = Layout("test", data=folder / "data", models=folder / "MODELS")
    write_run(config(), layout, 3000)
    return output.load(config(), layout)


def changed(data: ReportData, **significance: Any) -> ReportData:
    found = {**data.metrics["significance"], **significance}
    return replace(data, metrics={**data.metrics, "significance": found})


def test_every_sentence_and_figure_is_on_the_page(data: ReportData) -> None:
    from html import escape

    found, html = data.metrics["significance"], page.render(data)
    assert '<section id="luck">' in html and '<a href="#luck">Luck</a>' in html
    for sentence in found["sentences"]:
        assert escape(text.typeset(sentence)) in html
    shown = luck.luck(data)
    for figure in (text.number(found["dsr"]), text.number(found["psr"]), f"{found['overfitting']['pbo']:.2f}, 90 %"):
        assert figure in shown
    assert f"{found['grid_sample']['traded']:,} of {found['grid_sample']['sets']:,}" in shown
    assert "strategies that entered at random did at least as well" in shown


def test_each_figure_stands_at_its_name(data: ReportData) -> None:
    pbo = {**data.metrics["significance"]["overfitting"], "pbo": 0.25, "loss": 0.75}
    shown = luck.luck(changed(data, min_trl=365.0, sr0=1.23, trial_std=4.56, overfitting=pbo))
    for name, value in (
        ("MinTRL, as the only trial", text.duration(365 * 86_400_000)), ("the chosen set lost elsewhere", "75 %"),
        ("Sharpe ratio by luck alone", "1.23"), ("their ratios scatter by", "4.56"),
    ):  # fmt: skip
        assert f"<dt>{name}</dt><dd>{value}</dd>" in shown.replace("\u202f", " ").replace("\u00a0", " ")


def test_figures_in_sample_are_never_without_these_words(data: ReportData) -> None:
    for in_sample in (True, False):
        shown = luck.luck(replace(data, metrics={**data.metrics, "in_sample": in_sample}))
        assert ("Skill or luck, in sample" in shown) is in_sample


def test_what_is_not_known_is_a_dash_or_left_out(data: ReportData) -> None:
    names = ("sharpe", "skew", "kurtosis", "psr", "dsr", "min_trl", "min_btl_years", "power", "detectable")
    unknown = changed(data, **dict.fromkeys(names), overfitting=None, grid_sample=None, than_holding=None)
    shown = luck.luck(unknown)
    assert "PBO</dt>" not in shown and f"<dd>{text.UNKNOWN}</dd>" in shown and "None" not in shown


def test_a_simulation_from_before_says_what_to_run(data: ReportData) -> None:
    old = {key: value for key, value in data.metrics.items() if key != "significance"}
    assert "<code>pipeline simulate -c configs/test.yaml</code>" in luck.luck(replace(data, metrics=old))


@pytest.mark.parametrize(
    ("dsr", "passes", "mood"), [(0.2, False, "bad"), (0.8, False, "fair"), (None, False, "bad"), (0.99, True, "good")]
)
def test_better_than_random_entries_is_no_praise_without_the_deflated_ratio(
    data: ReportData, dsr: float | None, passes: bool, mood: str
) -> None:
    said = "With 401 trials …: not evidence."
    judged = changed(data, dsr=dsr, passes=passes, sentence=said).metrics
    metrics = {
        **judged,
        "in_sample": False,
        "random_entry": {"n": 1000, "p_value": 0.001},
        "headline": {**judged["headline"], "total_return": 9.0, "trades": 200},
    }
    found = text.meaning(metrics)
    assert found[0] == mood and (passes or found[1] == said)


def test_no_text_of_the_section_is_markup(data: ReportData, tmp_path: Path) -> None:
    assert "<b>" not in luck.luck(changed(data, sentences=["<b>bold</b>"]))
