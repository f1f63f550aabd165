"""Values of an intelligent-trading-bot config, which may be anything that JSON or one of its scripts allows."""

import ast
import math
import re
from collections.abc import Mapping
from typing import Any

Old = Mapping[str, Any]
_ARANGE = re.compile(r"(?:np|numpy)\.arange\(([^()]+)\)(?:\.tolist\(\))?")
# A typing slip must not become a grid that fills the memory.
_MOST = 10_000


def as_list(value: Any) -> list[Any]:
    """A list; of a single value one that holds it, of null an empty one."""
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def as_mapping(value: Any) -> Old:
    """An object; an empty one in place of anything else."""
    return value if isinstance(value, Mapping) else {}


def as_numbers(value: Any) -> list[float] | None:
    """Numbers in ascending order: a list of them, or a string that its scripts evaluate to one; None if it is neither.

    Of what can be evaluated a list and `np.arange(start, stop, step)` are understood, and nothing is executed.
    """
    try:
        if isinstance(value, str):
            if found := _ARANGE.fullmatch(value.strip()):
                start, stop, step = (float(part) for part in found[1].split(","))
                value = [start + n * step for n in range(min(math.ceil((stop - start) / step), _MOST))]
            else:
                value = ast.literal_eval(value.strip())
        return sorted(round(float(one), 12) for one in as_list(value))
    except (ValueError, TypeError, SyntaxError, ArithmeticError):
        return None
