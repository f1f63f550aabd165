"""Worlds in which the future is missing or another: the inputs of a config once more, in a folder of their own.

The stages run in a world exactly as they run in the project: its folder has `data/` and `MODELS/` at the same relative
places and is the current folder while they do, so that a custom feature which reads the project's files by their
relative path finds the world's.
"""

import contextlib
import importlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.artifacts import Layout, read_table, write_table
from pipeline.config import Config, interval_ms
from pipeline.config.features import FeatureEntry
from pipeline.errors import MissingInput
from pipeline.evaluation.leaks.future_noise import perturbed
from pipeline.market import candles

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """Inputs as they were when bars had closed by `cut_ms`, or with other bars after it.

    config: with absolute references to custom code, and nothing that costs time and is not compared. noise: seed of
    the other bars; None if there are none. from_raw: bars are merged anew from downloaded ones.
    """

    config: Config
    layout: Layout
    folder: Path
    cut_ms: int
    noise: int | None
    from_raw: bool

    def run(self, stages: Sequence[str]) -> None:
        """Run stages in this world, in silence."""
        from pipeline.stages.runner import run_stage

        with inside(self.folder), fresh_custom_modules(self.config), _quiet():
            for stage in stages:
                run_stage(stage, self.config, self.layout)


def make_world(config: Config, real: Layout, folder: Path, cut_ms: int, noise: int | None = None) -> World:
    """A world in an empty folder, its merged bars made.

    Raises BadInput: as `merge`; a prefix can be too short for it.
    """
    layout = layout_in(real, folder)
    adjusted = quick(config)
    from_raw = _copy_raw(adjusted, real, layout, cut_ms, noise)
    world = World(adjusted, layout, folder, cut_ms, noise, from_raw)
    if from_raw:
        world.run(["merge"])
    else:
        for symbol in config.symbols:
            table = read_table(real.merged(symbol), "merge")
            write_table(layout.merged(symbol), changed(table, config.step_ms, cut_ms, noise))
    if real.trained.is_dir():
        layout.trained.parent.mkdir(parents=True, exist_ok=True)
        layout.trained.symlink_to(real.trained.resolve())
    return world


def layout_in(real: Layout, folder: Path) -> Layout:
    """The layout's relative paths below another folder; what lies elsewhere gets its usual place there."""

    def moved(path: Path, usual: str) -> Path:
        with contextlib.suppress(ValueError):
            path = path.resolve().relative_to(Path.cwd()) if path.is_absolute() else path
        return folder / (usual if path.is_absolute() or ".." in path.parts else path)

    return Layout(real.name, moved(real.raw, "data/raw"), moved(real.data, "data"), moved(real.models, "MODELS"))


def quick(config: Config) -> Config:
    """The config without what costs time and is not compared, with custom code named by its absolute path."""
    return config.model_copy(
        update={
            "features": [_absolute(entry) for entry in config.features],
            # A prefix may be filled to a larger share than the whole.
            "merge": config.merge.model_copy(update={"max_filled": 1.0}),
            "predict_rolling": config.predict_rolling.model_copy(update={"null_paths": 0}),
            "simulate": config.simulate.model_copy(update={"random_entries": 0, "stress": False}),
        }
    )


def _absolute(entry: FeatureEntry) -> FeatureEntry:
    # A path to custom code is relative to the project.
    if entry.custom is None:
        return entry
    module, colon, name = entry.custom.function.rpartition(":")
    if not module.endswith(".py"):
        return entry
    reference = f"{Path(module).resolve()}{colon}{name}"
    return entry.model_copy(update={"custom": entry.custom.model_copy(update={"function": reference})})


def changed(table: pa.Table, step_ms: int, cut_ms: int, noise: int | None) -> pa.Table:
    """Rows of bars `step_ms` long that had closed by the cut; with noise all rows, those after it disturbed."""
    future = candles.times_ms(table) + step_ms > cut_ms
    if noise is None:
        return table.filter(pa.array(~future))
    return perturbed(table, future, noise)


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """`folder` as the current folder."""
    with contextlib.chdir(folder):
        yield


@contextlib.contextmanager
def fresh_custom_modules(config: Config) -> Iterator[None]:
    """Modules of custom features are imported anew, so that nothing that they keep comes from another world."""
    names = {entry.custom.function.rpartition(":")[0] for entry in config.features if entry.custom}
    kept: dict[str, Any] = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.modules.update(kept)


def _copy_raw(config: Config, real: Layout, layout: Layout, cut_ms: int, noise: int | None) -> bool:
    # Downloaded bars as far as they had closed. False if there are none, and merged bars have to do.
    from pipeline.stages import merge

    try:
        folders = merge.plan(config, real).inputs
    except MissingInput:
        return False
    for folder in folders:
        # Rates of funding are known at their time, bars a step after it.
        step = 0 if folder.name == "funding" else interval_ms(folder.name)
        for path in sorted(folder.glob("[0-9][0-9][0-9][0-9]-[0-9][0-9].parquet")):
            target = layout.raw / path.relative_to(real.raw)
            table = read_table(path, "download", None)
            times = candles.times_ms(table)
            if times[-1] + step <= cut_ms:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(path.resolve())
            elif noise is not None or times[0] + step <= cut_ms:
                seed = None if noise is None else noise + int(times[0] // 86_400_000)
                write_table(target, changed(table, step, cut_ms, seed))
    return True


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # The stages' progress is not this command's.
    import io

    with contextlib.redirect_stderr(io.StringIO()):
        yield
