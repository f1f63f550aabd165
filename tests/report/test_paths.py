"""The cross-validation's section shows the spread over the paths, beside what was simulated."""

from dataclasses import replace
from typing import Any

import pytest
from report.artifacts import config, write_run

from pipeline.artifacts import Layout, write_json
from pipeline.report import page
from pipeline.report.data import ReportData
from pipeline.report.paths import paths
from pipeline.stages import output
from pipeline.stages.path_trading import TRADING, distribution

HOSTILE = "</script><img src=x onerror=alert(1)>"


def found(sharpes: list[float | None], name: str = "high_10_lgbm") -> dict[str, Any]:
    ways: list[dict[str, Any]] = [
        {
            "path": number,
            "splits": [number, 2],
            "scores": {name: {"auc": 0.5 + number / 100, "log_loss": 0.6}},
            "trading": dict.fromkeys(TRADING, 0.25) | {"sharpe": sharpe, "trades": 10},
        }
        for number, sharpe in enumerate(sharpes)
    ]
    return {
        "groups": 3, "test_groups": 2, "embargo_bars": 12, "splits": [{}, {}, {}], "paths": ways,
        "edges": ["2024-01-01T00:00Z", "2024-02-01T00:00Z"],
        "distribution": distribution(ways, ["auc", "log_loss", "r2"]),
    }  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    folder = tmp_path_factory.mktemp("run")
    layout = Layout("test", data=folder / "data", models=folder / "MODELS")
    write_run(config(), layout, 1500)
    write_json(layout.cpcv / "paths.json", found([1.0, 2.0, 6.0]))
    return output.load(config(), layout)


def test_the_spread_stands_beside_what_was_simulated(data: ReportData) -> None:
    html = paths(replace(data, metrics={**data.metrics, "headline": {**data.metrics["headline"], "sharpe": 7.5}}))
    row = html[html.index("Sharpe ratio</th>") :].split("</tr>")[0]
    assert [cell.split("</td>")[0] for cell in row.split("<td>")[1:]] == ["3.00", "1.10", "2.00", "5.60", "7.50"]
    assert "3 groups of bars from 2024-01-01 to 2024-02-01, 2 tested at a time" in html
    row = html[html.index("high_10_lgbm, AUC</th>") :].split("</tr>")[0]
    assert [cell.split("</td>")[0] for cell in row.split("<td>")[1:]] == ["0.510", "0.501", "0.510", "0.519"]
    assert "12 bars after it" in html and "r2" not in html.lower().replace("r²", "r2")
    drawn = page.charts(data)["paths-chart"]
    assert drawn["data"][0]["y"] == [1.0, 2.0, 6.0]
    assert drawn["layout"]["shapes"][0]["y0"] == pytest.approx(1.1)
    assert 'data-figure="paths-chart"' in page.render(data)


def test_without_a_cross_validation_the_section_says_what_to_run(data: ReportData) -> None:
    bare = replace(data, paths=None)
    assert "Run <code>pipeline cross-validate -c configs/test.yaml</code>" in paths(bare)
    assert "paths-chart" not in page.charts(bare)


def test_paths_that_were_not_traded_or_never_traded_can_be_shown(data: ReportData) -> None:
    scored = found([1.0, 2.0])
    scored["distribution"]["trading"] = {}
    assert "scored, not traded" in paths(replace(data, paths=scored))
    page.render(replace(data, paths=found([None, None])))


def test_names_of_models_are_escaped(data: ReportData) -> None:
    own = page.render(replace(data, paths=found([1.0], HOSTILE))).replace(page.plotly_script(), "")
    assert HOSTILE not in own and "<img" not in own
