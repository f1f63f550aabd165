"""LightGBM's model files by its C library alone: its Python package needs scipy and others, 17 MB and a quarter of a
second, to train what only has to be asked here.
"""

import ctypes
import importlib.util
import sys
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import BadInput

Floats = npt.NDArray[np.float64]
# Of LightGBM's C interface: C_API_DTYPE_FLOAT32, C_API_PREDICT_NORMAL, C_API_FEATURE_IMPORTANCE_SPLIT; all trees.
_FLOAT32, _NORMAL, _SPLIT, _ALL = 0, 0, 0, -1
_PREDICT_ROWS = 1 << 17
_ROOM = 1 << 20


class ModelFile:
    """A model that was trained before.

    text: of a file whose hash has been verified; damaged text can end the process.
    Raises BadInput: LightGBM refuses it.
    """

    def __init__(self, text: str) -> None:
        self.library, self.handle = library(), ctypes.c_void_p()
        trees = ctypes.c_int()
        self.check(
            self.library.LGBM_BoosterLoadModelFromString(
                ctypes.c_char_p(text.encode()), ctypes.byref(trees), ctypes.byref(self.handle)
            )
        )

    def predict(self, features: npt.NDArray[np.float32], threads: int = 1) -> Floats:
        """Scores [n] of feature rows [n, k]; the same bits for one row as for many."""
        result = np.empty(len(features))
        for start in range(0, len(features), _PREDICT_ROWS):
            part = np.ascontiguousarray(features[start : start + _PREDICT_ROWS], np.float32)
            made = ctypes.c_int64()
            self.check(
                self.library.LGBM_BoosterPredictForMat(
                    self.handle,
                    ctypes.c_void_p(part.ctypes.data),
                    ctypes.c_int(_FLOAT32),
                    ctypes.c_int(part.shape[0]),
                    ctypes.c_int(part.shape[1]),
                    ctypes.c_int(1),
                    ctypes.c_int(_NORMAL),
                    ctypes.c_int(0),
                    ctypes.c_int(_ALL),
                    ctypes.c_char_p(f"num_threads={threads}".encode()),
                    ctypes.byref(made),
                    ctypes.c_void_p(result[start:].ctypes.data),
                )
            )
        return result

    def model_to_string(self) -> str:
        """The trees in LightGBM's format."""
        room = _ROOM
        while True:
            text, length = ctypes.create_string_buffer(room), ctypes.c_int64()
            self.check(
                self.library.LGBM_BoosterSaveModelToString(
                    self.handle,
                    ctypes.c_int(0),
                    ctypes.c_int(_ALL),
                    ctypes.c_int(_SPLIT),
                    ctypes.c_int64(room),
                    ctypes.byref(length),
                    text,
                )
            )
            if length.value <= room:
                return text.value.decode()
            room = length.value

    def check(self, code: int) -> None:
        """Raises BadInput: the library has returned an error."""
        if code:
            raise BadInput(f"LightGBM: {self.library.LGBM_GetLastError().decode()}")

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            self.library.LGBM_BoosterFree(self.handle)


@cache
def library() -> ctypes.CDLL:
    """LightGBM's C library, which says nothing on its own."""
    loaded = ctypes.CDLL(str(_path()))
    loaded.LGBM_GetLastError.restype = ctypes.c_char_p
    loaded.LGBM_RegisterLogCallback(_silent)
    return loaded


def _path() -> Path:
    # Where LightGBM's own package looks for it.
    spec = importlib.util.find_spec("lightgbm")
    if spec is None or spec.origin is None:
        raise ImportError("LightGBM is not installed")
    package, suffix = Path(spec.origin).parent, {"win32": "dll", "darwin": "dylib"}.get(sys.platform, "so")
    places = [package / "lib", package / "bin", package.parent]
    found = [place / f"lib_lightgbm.{suffix}" for place in places if (place / f"lib_lightgbm.{suffix}").is_file()]
    if not found:
        raise ImportError(f"{package}: has no lib_lightgbm.{suffix}")
    return found[0]


@ctypes.CFUNCTYPE(None, ctypes.c_char_p)
def _silent(_: bytes) -> None:
    # The library prints what it raises as well.
    pass
