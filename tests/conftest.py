"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says more of what else the processor has to do than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with those that wait, in one process: beside them the others keep the processors busy."""
    items.sort(key=lambda item: item.get_closest_marker("waiting") is None)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real market data; tests that need it skip, visibly, where it is not given."""
    folder = os.environ.get("PIPELINE_REAL_DATA")
    if not folder:
        pytest.skip("PIPELINE_REAL_DATA is not set")
    return Path(folder).resolve()


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, so that a stage's relative paths land in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
