"""Feature selection: which columns of one training window say something about one label."""

from pipeline.models.selection.choice import Selected, select

__all__ = ["Selected", "select"]
