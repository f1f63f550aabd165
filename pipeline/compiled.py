"""Functions that numba compiles, and only once one of them is called.

Importing numba takes a quarter of a second and 56 MB, and its first call half a second more. A process that calls none
of these functions, or has their machine code from elsewhere (`pipeline.machine_code`), needs neither.
"""

from collections.abc import Callable
from functools import cache
from threading import RLock
from typing import Any

from pipeline.lean import without
from pipeline.sources import stamp

_MAKING = RLock()


@cache
def _numba() -> Any:
    with without("scipy", "cffi", "yaml"):
        import numba
        from numba.core.registry import cpu_target

        # Here it imports what it knows of, and with it scipy, were it not for the above.
        cpu_target.typing_context.refresh()
        cpu_target.target_context.refresh()
    return numba


class Compiled:
    """A function as `numba.njit` makes it of `py_func`, made when it is first called or called by another one."""

    def __init__(self, py_func: Callable[..., Any], options: dict[str, Any]) -> None:
        self.py_func = py_func
        self.targetoptions = options
        self.__doc__, self.__name__, self.__module__ = py_func.__doc__, py_func.__name__, py_func.__module__
        self._dispatcher: Any = None
        self._call: Callable[..., Any] = self._first

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __repr__(self) -> str:
        return f"<compiled {self.__module__}.{self.__name__}>"

    @property
    def dispatcher(self) -> Any:
        """numba's own function."""
        # Two threads that call it first are not to compile it twice.
        with _MAKING:
            if self._dispatcher is None:
                self._dispatcher = _numba().njit(**{"cache": True, **self.targetoptions})(self.py_func)
                if content := stamp(self.py_func.__module__):
                    _keep_by(content, self._dispatcher)
        return self._dispatcher

    def use(self, native: Callable[..., Any]) -> None:
        """Call this from now on, which has to be the same machine code."""
        self._call = native

    @property
    def _numba_type_(self) -> Any:
        # By this name numba asks what a value that it does not know is to it.
        return self.dispatcher._numba_type_

    def _first(self, *args: Any) -> Any:
        self._call = self.dispatcher
        return self._call(*args)


def _keep_by(content: str, dispatcher: Any) -> None:
    # numba takes what it has kept for fresh as long as the file of the function itself is as it was. But functions and
    # constants of other files are compiled into it: after an update of those alone, the old ones would go on trading.
    if (file := getattr(dispatcher._cache, "_cache_file", None)) is not None:
        file._source_stamp = content


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator; options: of `numba.njit`, which keeps what it has made unless they say otherwise."""
    return lambda py_func: Compiled(py_func, options)
