"""A copy of the books that changes by itself: what `copy.deepcopy` makes, without looking at what never changes."""

import copy
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from pipeline.live.books import Books


def copied(books: Books) -> Books:
    """A copy that shares nothing with the original that is ever changed; an entry stays one object everywhere."""
    entries = {name: copy.copy(entry) for name, entry in books.entries.items()}
    share = entries.__getitem__
    values: dict[str, Any] = {one.name: copy.copy(getattr(books, one.name)) for one in fields(Books)}
    values["entries"] = entries
    for name in ("_of", "_open"):
        values[name] = _each(values[name], lambda of: {key: share(key) for key in of})
    for name in ("lists", "works", "_ended"):
        values[name] = _each(values[name], copy.copy)
    return Books(**values)


def _each(values: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    return {key: change(value) for key, value in values.items()}
