"""The page's parts that no finished run can reach, and its style sheet."""

import json
import re
from dataclasses import replace
from importlib.resources import files
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from report.artifacts import config, write_run

from pipeline.artifacts import Layout
from pipeline.report import page
from pipeline.report.data import ReportData
from pipeline.report.figures import MARKED_TRADES, colour_limit, surface
from pipeline.stages import output

HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    folder = tmp_path_factory.mktemp("run")
    layout = Layout("test", data=folder / "data", models=folder / "MODELS")
    write_run(config(), layout, 1500)
    return output.load(config(), layout)


def test_no_name_in_a_file_can_end_the_script_or_open_an_element(data: ReportData) -> None:
    assert data.folds is not None and data.manifest is not None and data.gaps is not None
    scores = [replace(model, name=f"{HOSTILE}_{model.name}") for model in data.scores]
    folds = json.loads(json.dumps(data.folds).replace("high_10_lgbm", HOSTILE))
    manifest = json.loads(json.dumps(data.manifest).replace("high_10_lgbm", HOSTILE).replace("close_SMA_3", HOSTILE))
    gaps = {HOSTILE: data.gaps["BTCUSDT"]}
    html = page.render(
        replace(data, title=HOSTILE, command=HOSTILE, config_yaml=HOSTILE, scores=scores, folds=folds,
                manifest=manifest, gaps=gaps, hashes={HOSTILE: HOSTILE}, versions={HOSTILE: HOSTILE}, images=[HOSTILE])
    )  # fmt: skip
    own = html.replace(page.plotly_script(), "")
    assert HOSTILE not in own and "<img" not in own
    assert own.count("</script>") == 3


def test_a_made_up_market_is_not_shown_as_the_real_one(data: ReportData) -> None:
    assert "BTCUSDT, a synthetic market ·" in page.render(replace(data, synthetic=True))
    assert "synthetic market" not in page.render(replace(data, synthetic=False, config_yaml=""))


def test_commands_to_run_are_set_as_code(data: ReportData) -> None:
    shown = page.render(replace(data, command="pipeline output -c configs/a<b.yaml"))
    assert "<code>pipeline simulate -c configs/a&lt;b.yaml --stress</code>" in shown


def test_a_long_list_of_trades_is_cut_and_says_so(data: ReportData) -> None:
    import pyarrow as pa

    many = pa.concat_tables([data.trades] * (2 * MARKED_TRADES // data.trades.num_rows + 1))
    html = page.render(replace(data, trades=many))
    assert f"The first 500 of {many.num_rows:,}" in html
    assert f"The last {MARKED_TRADES:,} of {many.num_rows:,} trades are marked" in html
    assert html.count('data-value="long"') + html.count('data-value="short"') == 500


def test_the_surface_puts_each_pair_of_thresholds_in_its_place(data: ReportData) -> None:
    assert data.grid is not None
    buys, sells, z = surface(data.grid, "selection_sharpe")
    for row in data.grid.slice(0, 50).to_pylist():
        found = z[np.flatnonzero(sells == row["sell"])[0], np.flatnonzero(buys == row["buy"])[0]]
        assert found == row["selection_sharpe"] or (np.isnan(found) and row["selection_sharpe"] is None)


def test_a_surface_without_a_value_still_has_a_colour_scale() -> None:
    assert colour_limit([np.full((2, 2), np.nan)]) == 1 and colour_limit([np.zeros((2, 2))]) == 1


def test_text_can_be_read_on_its_background_in_every_palette() -> None:
    css = (files("pipeline.report") / "assets" / "report.css").read_text(encoding="utf-8")
    palettes = [
        dict(re.findall(r"--([a-z]+\d?): (#[0-9a-f]{6})", block)) for block in re.findall(r":root[^{]*{[^}]*}", css)
    ]
    assert len(palettes) == 3
    for palette, (text, ground) in product(
        palettes, product(("ink", "muted", "up", "down", "accent", "hold"), ("paper", "panel"))
    ):
        assert _contrast(palette[text], palette[ground]) >= 4.5, (text, palette[text], palette[ground])


def _contrast(one: str, other: str) -> float:
    # WCAG 2.2, contrast ratio.
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_assets_are_part_of_the_installed_package() -> None:
    declared = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    kinds = {path.suffix for path in Path(str(files("pipeline.report") / "assets")).iterdir()}
    assert kinds == {".html", ".css", ".js"} and all(f'"**/*{kind}"' in declared for kind in kinds)
