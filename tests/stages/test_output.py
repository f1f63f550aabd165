"""The output stage on a finished run: its page, its CSV, its pictures."""

import csv
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from report.artifacts import config, metrics_of, without, write_run

from pipeline.artifacts import Layout, read_table, sha256_file, write_json, write_table
from pipeline.errors import BadInput, MissingInput
from pipeline.report import text
from pipeline.stages import output

N = 3000


class Page(HTMLParser):
    """Addresses that a page would load, text by element id, and ids."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self._skip = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self._skip = tag in ("script", "style")
        self.ids += [given["id"] or ""] if "id" in given else []
        self.loads += [given[name] or "" for name in ("src", "srcset", "data", "poster") if name in given]
        self.loads += [given["href"] or ""] if tag == "link" else []

    def handle_endtag(self, tag: str) -> None:
        self._skip = False

    def handle_data(self, data: str) -> None:
        if not self._skip:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def report(layout: Layout) -> str:
    return (layout.output / "report.html").read_text(encoding="utf-8")


def charts(html: str) -> dict[str, Any]:
    found = re.search(r'id="chart-data">(.*?)</script>', html, re.S)
    assert found is not None
    return dict(json.loads(found[1]))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A run that went through all stages; read only."""
    folder = tmp_path_factory.mktemp("finished")
    layout = Layout("test", data=folder / "data", models=folder / "MODELS")
    write_run(config(), layout, N)
    output.run(config(), layout)
    return layout


def test_writes_the_page_the_trades_and_pictures(finished: Layout) -> None:
    names = {path.name for path in finished.output.iterdir()}
    assert names == {"report.html", "trades.csv", "equity.png", "price.png", "calibration.png", "grid.png"}
    for picture in finished.output.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert (finished.output / "report.html").stat().st_size < 8_000_000


def test_the_page_loads_nothing_and_forbids_it(finished: Layout) -> None:
    html = report(finished)
    page = Page(html)
    assert page.loads == ["data:,"]
    own = html.replace(_library(), "")
    assert "import(" not in own and "@import" not in own and not re.search(r"url\(\s*['\"]?(https?:)?//", own)
    assert not re.search(r"https?://(?!www\.w3\.org)", re.sub(r"<pre>.*?</pre>", "", own, flags=re.S))
    assert "Content-Security-Policy\" content=\"default-src 'none'" in html


def _library() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def test_ids_are_unique_and_every_chart_has_a_place(finished: Layout) -> None:
    html = report(finished)
    ids = Page(html).ids
    assert len(ids) == len(set(ids))
    assert set(charts(html)) <= set(ids)
    assert {
        "equity",
        "price-BTCUSDT",
        "scores-high_10_lgbm",
        "calibration-low_10_lc",
        "folds-chart",
        "grid-selection",
    } <= set(charts(html))


def test_figures_on_the_page_are_those_of_the_simulation(finished: Layout) -> None:
    metrics, words = metrics_of(finished), Page(report(finished)).text
    assert text.verdict(metrics) in words
    for part in ("evaluation", "selection", "all"):
        for own in (metrics["parts"][part], metrics["buy_and_hold"][part]):
            assert text.percent(own["total_return"]) in words
            assert text.number(own["sharpe"]) in words
    assert text.number(metrics["random_entry"]["p_value"], 3) in words
    assert "thresholds were chosen here" in words
    for month, value in metrics["by_month"].items():
        assert text.percent(value) in words, month
    for kind, one in metrics["by_regime"].items():
        assert kind in words and text.percent(one["buy_and_hold"]) in words


def test_charts_are_valid_plotly_figures(finished: Layout) -> None:
    import plotly.graph_objects as go

    drawn = json.dumps(charts(report(finished)))
    for figure in json.loads(re.sub(r"\$[a-z]+\d?(/[\d.]+)?", "#123456", drawn)).values():
        go.Figure(figure)  # raises on an unknown attribute


def test_the_equity_chart_ends_where_the_simulation_did(finished: Layout) -> None:
    equity = read_table(finished.simulation / "equity.parquet", "simulate")
    strategy = charts(report(finished))["equity"]["data"][0]
    assert strategy["y"][-1] == pytest.approx(equity["equity"][-1].as_py(), rel=1e-5)
    drawdown = charts(report(finished))["equity"]["data"][2]
    assert min(drawdown["y"]) == pytest.approx(metrics_of(finished)["parts"]["all"]["max_drawdown"], rel=1e-4)


def test_every_colour_is_in_the_style_sheet(finished: Layout) -> None:
    html = report(finished)
    used = set(re.findall(r'"\$([a-z]+\d?)', json.dumps(charts(html))))
    assert used and all(f"--{name}: #" in html for name in used)


def test_trades_csv_has_the_contracts_columns_and_iso_times(finished: Layout) -> None:
    table = read_table(finished.simulation / "trades.parquet", "simulate")
    rows = list(csv.DictReader((finished.output / "trades.csv").open()))
    assert list(rows[0]) == table.column_names and len(rows) == table.num_rows
    assert [float(row["pnl"]) for row in rows] == table["pnl"].to_pylist()
    assert rows[0]["entry_time"] == table["entry_time"][0].as_py().strftime("%Y-%m-%dT%H:%M:%SZ")


def test_the_same_run_gives_the_same_bytes(finished: Layout) -> None:
    before = {path.name: sha256_file(path) for path in finished.output.iterdir()}
    output.run(config(workers=2), finished)
    assert before == {path.name: sha256_file(path) for path in finished.output.iterdir()}


def test_text_from_the_config_is_never_markup(workspace: Path) -> None:
    layout = Layout("test")
    hostile = "</script><script>alert(1)</script> \"><img src=x onerror='x'> $title ${style} <b>&amp;"
    chosen = config(output={"title": hostile, "png": True})
    write_run(chosen, layout, 1500)
    output.run(chosen, layout)
    html = report(layout)
    page = Page(html)
    assert "img" not in page.tags and page.tags.count("script") == 3
    assert " ".join(hostile.split()) in page.text


def test_missing_optional_inputs_are_named_with_what_to_run(workspace: Path) -> None:
    layout = Layout("test")
    chosen = config(output={"png": False}, simulate={"random_entries": 0})
    write_run(chosen, layout, 1500)
    without(layout.folds, layout.gaps, layout.trained / "manifest.json", layout.rolling("BTCUSDT"))
    assert len(output.plan(chosen, layout).notes) == 5
    output.run(chosen, layout)
    page = Page(report(layout)).text
    for stage in ("predict-rolling", "merge", "train", "simulate"):
        assert re.search(rf"[Rr]un pipeline {stage}\b", page)
    assert not list(layout.output.glob("*.png"))


def test_a_run_without_trades_says_so(workspace: Path) -> None:
    layout = Layout("test")
    steps = [{"combine": {"columns": ["high_10_lgbm", "low_10_lgbm"]}}, {"threshold": {"buy": 5, "sell": -5}}]
    chosen = config(signals={"steps": steps}, simulate={"random_entries": 10})
    write_run(chosen, layout, 1500)
    for name in ("buy_signal", "sell_signal"):
        _silence(layout.signals("BTCUSDT"), name)
    from pipeline.stages import simulate

    simulate.run(chosen, layout)
    output.run(chosen, layout)
    page = Page(report(layout)).text
    assert "made no trades" in page and "no score reached 5 to buy or −5 to sell" in page
    assert (layout.output / "trades.csv").read_text().count("\n") == 1


def _silence(path: Path, name: str) -> None:
    table = read_table(path, "signals")
    no = pa.array(np.zeros(table.num_rows, bool))
    write_table(path, table.set_column(table.schema.get_field_index(name), name, no))


def test_several_symbols_can_be_chosen_and_are_compared(workspace: Path) -> None:
    layout = Layout("test")
    chosen = config(("BTCUSDT", "ETHUSDT"))
    write_run(chosen, layout, 1500)
    output.run(chosen, layout)
    html = report(layout)
    assert {"price-BTCUSDT", "price-ETHUSDT"} <= set(charts(html))
    assert '<option value="price-ETHUSDT">' in html and "By symbol" in html
    assert {path.name for path in layout.output.glob("price*")} == {"price-BTCUSDT.png", "price-ETHUSDT.png"}


def test_regression_labels_have_their_own_scores(workspace: Path) -> None:
    layout = Layout("test")
    write_run(config(), layout, 1500, boolean=False)
    output.run(config(), layout)
    assert "RMSE" in Page(report(layout)).text


def test_in_sample_figures_are_never_shown_without_those_words(workspace: Path) -> None:
    layout = Layout("test")
    write_run(config(), layout, 1500)
    scores = read_table(layout.rolling("BTCUSDT"), "predict-rolling").drop_columns(["fold"])
    write_table(layout.predictions("BTCUSDT"), scores.append_column("in_sample", pa.array(np.ones(len(scores), bool))))
    without(layout.rolling("BTCUSDT"), layout.folds)
    metrics = metrics_of(layout)
    write_json(layout.simulation / "metrics.json", metrics | {"in_sample": True})
    output.run(config(), layout)
    page = Page(report(layout)).text
    for title in ("Figures", "Price and trades", "Equity and drawdown", "Return by month", "Thresholds", "Trades"):
        assert f"{title}, in sample" in page
    assert "Figures are in sample: the models saw these rows" in page and "no evidence" in page


def test_scores_of_rows_after_training_are_told_from_those_before(workspace: Path) -> None:
    layout = Layout("test")
    write_run(config(), layout, 1500)
    scores = read_table(layout.rolling("BTCUSDT"), "predict-rolling").drop_columns(["fold"])
    seen = pa.array(np.arange(len(scores)) < 900)
    write_table(layout.predictions("BTCUSDT"), scores.append_column("in_sample", seen))
    without(layout.rolling("BTCUSDT"))
    output.run(config(), layout)
    page = Page(report(layout)).text
    assert "out of sample, after the end of training" in page
    assert text.number(len(scores) - 900 - 12) in page  # the last 12 outcomes are not known


def test_a_missing_simulation_names_the_stage(workspace: Path) -> None:
    with pytest.raises(MissingInput, match=r"metrics\.json"):
        output.run(config(), Layout("test"))


def test_a_simulation_of_other_symbols_is_refused(workspace: Path) -> None:
    layout = Layout("test")
    write_run(config(), layout, 1500)
    write_json(layout.simulation / "metrics.json", metrics_of(layout) | {"symbols": ["ETHUSDT"]})
    with pytest.raises(BadInput, match="is about ETHUSDT"):
        output.run(config(), layout)
    assert not layout.output.exists()


@pytest.mark.parametrize("package", ["plotly", "matplotlib"])
def test_a_missing_drawing_package_is_named(finished: Layout, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sha256_file(finished.output / "report.html")
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BadInput, match=f"'{package}' is not installed") as raised:
        output.run(config(), finished)
    assert "pip install 'pipeline[report]'" in raised.value.hint
    assert sha256_file(finished.output / "report.html") == before
