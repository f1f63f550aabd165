"""Features from a user's own Python function, which sees exactly its look-back and nothing else."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.artifacts import sha256_file
from pipeline.config.features import CustomFeatures
from pipeline.errors import BadInput
from pipeline.features.family import Block, Columns, Stream, Times, family


@dataclass(frozen=True)
class CustomBlock:
    """A function called with a dict of arrays, each the last `lookback` values of an input."""

    spec: CustomFeatures
    function: Callable[..., Any]

    @property
    def names(self) -> list[str]:
        return list(self.spec.names)

    @property
    def inputs(self) -> list[str]:
        return list(self.spec.inputs)

    @property
    def window(self) -> int:
        return self.spec.lookback

    @property
    def lookback(self) -> int:
        return self.spec.lookback

    def batch(self, columns: Columns, times: Times) -> Sequence[npt.NDArray]:
        result = np.full((len(self.spec.names), len(times)), np.nan)
        for t in range(self.spec.lookback - 1, len(times)):
            result[:, t] = self.call({k: columns[k][t + 1 - self.spec.lookback : t + 1] for k in self.spec.inputs}, t)
        return list(result)

    def stream(self, columns: Columns, times: Times) -> Stream:
        return _CustomStream(self, columns, len(times))

    def call(self, window: dict[str, npt.NDArray], row: int) -> list[float]:
        """Values of one window. Raises BadInput: the function failed or returned something else."""
        # Copies, so that a function which writes to its window cannot reach other rows.
        window = {name: values.copy() for name, values in window.items()}
        try:
            values = self.function(window, **self.spec.parameters)
            numbers = [float(v) for v in (values if isinstance(values, Sequence | np.ndarray) else [values])]
        except Exception as error:
            raise BadInput(
                f"custom feature {self.spec.function}: failed at row {row}: {type(error).__name__}: {error}",
                f"it is called with arrays of {self.spec.lookback} values: {', '.join(self.spec.inputs)}",
            ) from error
        if len(numbers) != len(self.spec.names):
            raise BadInput(
                f"custom feature {self.spec.function}: returned {len(numbers)} values for {len(self.spec.names)} names"
            )
        return numbers


class _CustomStream:
    def __init__(self, block: CustomBlock, columns: Columns, rows: int) -> None:
        self._block, self._row = block, rows
        self._windows = {name: columns[name][-block.spec.lookback :].copy() for name in block.spec.inputs}

    def update(self, bar: Mapping[str, float], time_ms: int) -> Sequence[float]:
        lookback = self._block.spec.lookback
        for name, past in self._windows.items():
            self._windows[name] = np.append(past, bar[name])[-lookback:]
        self._row += 1
        if self._row < lookback:
            return [np.nan] * len(self._block.spec.names)
        return self._block.call(self._windows, self._row - 1)


@family("custom")
def blocks(spec: CustomFeatures) -> list[Block]:
    """The one block of a `custom` entry. Raises BadInput: the function cannot be found."""
    return [CustomBlock(spec, _load(spec.function))]


def source_hash(reference: str) -> str:
    """SHA-256 of the file that a function is named in; empty if it is built in. Raises BadInput: it cannot be found."""
    module_name = reference.rpartition(":")[0]
    if module_name.endswith(".py"):
        path = Path(module_name)
        _require_file(path)
        return sha256_file(path)
    _load(reference)
    file = getattr(sys.modules[module_name], "__file__", None)
    return sha256_file(Path(file)) if file else ""


def _load(reference: str) -> Callable[..., Any]:
    module_name, colon, name = reference.rpartition(":")
    if not colon:
        raise BadInput(f"custom.function: '{reference}': write 'package.module:function' or 'path/to/file.py:function'")
    try:
        module = _from_file(Path(module_name)) if module_name.endswith(".py") else importlib.import_module(module_name)
    except BadInput:
        raise
    except Exception as error:
        raise BadInput(
            f"custom.function: '{module_name}' cannot be imported: {type(error).__name__}: {error}"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise BadInput(f"custom.function: '{module_name}' has no function '{name}'")
    return function  # type: ignore[no-any-return]


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise BadInput(f"custom.function: {path}: no such file", "the path is relative to the current folder")


def _from_file(path: Path) -> Any:
    _require_file(path)
    name = f"_custom_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
