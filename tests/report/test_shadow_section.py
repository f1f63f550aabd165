"""The section of the shadow run says how to compare it, and only where it ran."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.report.data import ReportData, ShadowRun
from pipeline.report.provenance import provenance
from pipeline.report.shadow import shadow

RUN = ShadowRun(True, "trained-1", 0, 300_000, 2, 0, 10_000.0, 10_000.0, 1.5, [])


def data(run: ShadowRun | None) -> Any:
    stage = ReportData.stage
    found = SimpleNamespace(
        shadow=run, command="pipeline output -c configs/test.yaml", metrics={"name": "test", "trials": 1},
        manifest=None, versions={}, hashes={}, config_yaml="", images=[],
    )  # fmt: skip
    found.stage = lambda name: stage(found, name)
    return found


@pytest.mark.parametrize(
    ("rehearsed", "command"),
    [
        (True, "pipeline shadow-report -c configs/test.yaml --store data/test/serve/rehearsal/journal.sqlite"),
        (False, "pipeline shadow-report -c configs/test.yaml"),
    ],
)
def test_the_command_that_compares_reads_the_journal_of_that_run(rehearsed: bool, command: str) -> None:
    assert f"<code>{command}</code>" in shadow(data(replace(RUN, rehearsed=rehearsed)))


def test_only_a_page_without_measured_times_is_promised_byte_for_byte() -> None:
    assert "byte for byte." in provenance(data(None))
    assert "but for how long the shadow run" in provenance(data(RUN))
