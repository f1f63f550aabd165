"""The whole config: one section per stage."""

from pydantic import Field, field_validator

from pipeline.config.cross_validation import CrossValidation
from pipeline.config.drift import Drift
from pipeline.config.durations import Interval, Length, bars_in, interval_ms
from pipeline.config.features import FeatureEntry
from pipeline.config.gate import Gate
from pipeline.config.intervals import Intervals
from pipeline.config.labels import LabelEntry
from pipeline.config.meta import SecondStage
from pipeline.config.risk import Risk, Sizing
from pipeline.config.search import Optimize
from pipeline.config.section import Section
from pipeline.config.serve import Serve
from pipeline.config.sources import Download, Merge
from pipeline.config.trading import Output, Signals, Simulate
from pipeline.config.training import Predict, PredictRolling, Train


class Config(Section):
    """One run of the pipeline. `name` is the config file's name without its ending."""

    name: str = Field("default", pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*", exclude=True)
    symbols: list[str] = Field(["BTCUSDT"], min_length=1)
    interval: Interval = "1m"
    seed: int = Field(0, ge=0, description="Of everything random; the same seed gives the same bits.")
    workers: int = Field(0, ge=0, description="Processes to use; 0 is one per core.")
    ledger: str | None = Field(
        None,
        pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*",
        description="Name of the config in whose trial ledger this one's trials are counted; its own if absent.",
    )
    download: Download = Download()
    merge: Merge = Merge()
    features: list[FeatureEntry] = []
    labels: list[LabelEntry] = []
    train: Train = Train()
    meta: SecondStage | None = None
    predict: Predict = Predict()
    predict_rolling: PredictRolling = PredictRolling()
    cross_validation: CrossValidation = CrossValidation()
    intervals: Intervals | None = None
    drift: Drift = Drift()
    signals: Signals = Signals()
    sizing: Sizing = Sizing()
    risk: Risk = Risk()
    simulate: Simulate = Simulate()
    output: Output = Output()
    optimize: Optimize = Optimize()
    serve: Serve = Serve()
    gate: Gate = Gate()

    @field_validator("symbols")
    @classmethod
    def _symbols(cls, symbols: list[str]) -> list[str]:
        for symbol in symbols:
            if not symbol.isalnum() or symbol != symbol.upper():
                raise ValueError(f"'{symbol}' is not a symbol; write it as the exchange does: BTCUSDT")
        if len(set(symbols)) != len(symbols):
            raise ValueError("a symbol is listed twice")
        return symbols

    def bars(self, length: Length) -> int:
        """Bars in a length, at this config's interval."""
        return bars_in(length, self.interval)

    @property
    def step_ms(self) -> int:
        """Milliseconds from one bar to the next."""
        return interval_ms(self.interval)
