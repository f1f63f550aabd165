"""The chain's files, made once for all tests here."""

from pathlib import Path

import pytest
from evaluation.leaks import world


@pytest.fixture
def chain(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/ and MODELS/ of `world.config()`, the current one."""
    world.made(tmp_path_factory.getbasetemp() / "chain")
    return workspace
