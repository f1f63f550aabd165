"""From scores to buy and sell signals: combine, smooth, threshold; as a batch and as a stream."""

from pipeline.signals.chain import SignalStream, check_columns, compute, threshold_step
from pipeline.signals.rows import SignalRows

__all__ = ["SignalRows", "SignalStream", "check_columns", "compute", "threshold_step"]
