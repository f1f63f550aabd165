"""Sections `sizing` and `risk`: how much, and when not at all."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.config.durations import Length
from pipeline.config.section import Date, Fraction, Section


class Probability(Section):
    """A size is multiplied by what the second stage's probability that the trade is right is worth, from 0 to 1."""

    floor: float = Field(0.5, ge=0, lt=1, description="No trade at this probability or below.")
    full: float = Field(0.7, gt=0, le=1, description="linear: the whole size from this probability on.")
    shape: Literal["linear", "normal"] = Field(
        "linear", description="normal: 2Φ(z) − 1 with z = (p − floor) / √(p (1 − p)); `full` is not used."
    )

    @model_validator(mode="after")
    def _ordered(self) -> "Probability":
        if self.shape == "linear" and self.floor >= self.full:
            raise ValueError(f"floor ({self.floor:g}) must be below full ({self.full:g})")
        return self


class Sizing(Section):
    """How large a position is, before the caps of `risk.limits`. Fractions are of the equity."""

    method: Literal["fixed_fraction", "fixed_quote", "volatility_target", "kelly", "risk_per_trade"] = "fixed_fraction"
    fraction: float = Field(1.0, gt=0, le=125, description="fixed_fraction: share; above 1 needs simulate.leverage.")
    quote: float | None = Field(None, gt=0, description="fixed_quote: amount of the quote asset.")
    target_volatility: float = Field(0.2, gt=0, description="volatility_target: a year's standard deviation aimed at.")
    forecast: Literal["ewma", "garch"] = Field("ewma", description="Forecast of the volatility, from past closes.")
    span: Length = Field("1d", description="ewma: span of the average of squared returns.")
    garch_alpha: float = Field(0.08, ge=0, lt=1, description="garch: weight of the last squared return.")
    garch_beta: float = Field(0.90, ge=0, lt=1, description="garch: weight of the forecast before.")
    kelly_share: Fraction = Field(0.5, description="kelly: part of the growth-optimal fraction that is used.")
    kelly_cap: Fraction = Field(0.10, description="kelly: largest fraction.")
    kelly_prior: float = Field(30, gt=0, description="kelly: trades' worth of doubt that shrinks win rate and payoff.")
    kelly_start: Fraction = Field(0.01, description="kelly: fraction until kelly_prior trades are closed.")
    risk: Fraction = Field(0.01, description="risk_per_trade: share lost when the stop is hit.")
    probability: Probability | None = Field(None, description="Size by the probability of the section `meta`.")

    @model_validator(mode="after")
    def _complete(self) -> "Sizing":
        if self.method == "fixed_quote" and self.quote is None:
            raise ValueError("method fixed_quote needs quote: the amount to put into a position")
        if self.garch_alpha + self.garch_beta >= 1:
            raise ValueError(
                f"garch_alpha + garch_beta is {self.garch_alpha + self.garch_beta:g}; below 1, or variance explodes"
            )
        return self


class ScoreGate(Section):
    """Score on a scale of 0 to 100 at least `min`; `full` is the absolute score that counts as 100."""

    min: float = Field(70, ge=0, le=100)
    full: float = Field(1.0, gt=0)


class ColumnAtLeast(Section):
    """A feature column, at least `min`."""

    column: str
    min: float


class VolumeGate(Section):
    """Volume over its average, a feature column, at least `min`."""

    column: str
    min: float = Field(0.5, ge=0)


class TrendGate(Section):
    """A feature column whose sign, about `middle`, has to agree with the trade."""

    column: str
    middle: float = 0.0


class RsiGate(Section):
    """No long above `high`, no short below `low`."""

    column: str
    low: float = Field(30, ge=0, le=100)
    high: float = Field(70, ge=0, le=100)

    @model_validator(mode="after")
    def _ordered(self) -> "RsiGate":
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        return self


class RegimeGate(Section):
    """Trending where a feature column is at or above `trending_from`, else ranging."""

    column: str
    trending_from: float = 25.0


class RewardRiskGate(Section):
    """Distance of the target over the distance of the stop, at least."""

    trending: float = Field(1.2, ge=0)
    ranging: float = Field(1.6, ge=0)


class SpreadGate(Section):
    """Spread in hundredths of a percent at most; live it is measured, in history it needs a column."""

    max_bps: float = Field(10, gt=0)
    column: str | None = None


class DepthGate(Section):
    """Quote amount within the first levels of the book at least; live it is measured."""

    min_quote: float = Field(10_000, gt=0)
    column: str | None = None


class Window(Section):
    """A time in which nothing is entered: an announcement, maintenance."""

    start: Date
    end: Date
    kind: Literal["event", "maintenance"] = "event"

    @model_validator(mode="after")
    def _ordered(self) -> "Window":
        if self.start >= self.end:
            raise ValueError(f"start ({self.start}) must be before end ({self.end})")
        return self


class Session(Section):
    """Hours of the UTC day in which entries are allowed, `HH:MM`; positions are closed at the end if `flatten`."""

    start: str = Field("00:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    end: str = Field("24:00", pattern=r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$")
    flatten: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> "Session":
        if self.start >= self.end:
            raise ValueError(f"start ({self.start}) must be before end ({self.end}); sessions do not cross midnight")
        return self


class Gates(Section):
    """What a signal has to pass before it is an order. Those that need a column are off until it is named."""

    score: ScoreGate | None = None
    volume: VolumeGate | None = None
    trend: TrendGate | None = None
    regime: RegimeGate | None = None
    reward_risk: RewardRiskGate | None = None
    rsi: RsiGate | None = None
    spread: SpreadGate | None = None
    depth: DepthGate | None = None
    max_price_age: float = Field(5.0, gt=0, description="Seconds; live only.")
    max_balance_age: float = Field(60.0, gt=0, description="Seconds; live only.")
    max_clock_skew: float = Field(0.5, gt=0, description="Seconds; live only.")
    windows: list[Window] = []
    session: Session | None = None
    cool_down: Length = Field(0, description="Bars after an exit in which the symbol is not entered again.")


class Limits(Section):
    """Caps: an order is cut to what they leave, and refused if that is nothing. Fractions are of the equity."""

    order_notional: float | None = Field(None, gt=0, description="Quote amount of one order.")
    order_qty: float | None = Field(None, gt=0, description="Base amount of one order.")
    symbol_exposure: float = Field(1.0, gt=0, description="One symbol's position and open orders; times leverage.")
    total_exposure: float = Field(1.0, gt=0, description="All positions and open orders, without sign; times leverage.")
    correlated_exposure: float | None = Field(
        None, gt=0, description="√(wᵀCw) of the positions' shares w, C the shrunk correlation of past daily returns."
    )
    open_positions: int = Field(10, ge=1)
    orders_per_day: int = Field(200, ge=1, description="Entries in a UTC day.")
    orders_per_second: int = Field(5, ge=1, description="Live only: entries; in history one bar is one moment.")


class Breakers(Section):
    """When trading stops: entries are cancelled, positions closed, and nothing is entered until the reset."""

    daily_loss: float | None = Field(0.08, gt=0, lt=1, description="Below the equity at the start of the UTC day.")
    drawdown: float | None = Field(0.30, gt=0, lt=1, description="Below the highest equity of the UTC day.")
    losses_in_a_row: int | None = Field(5, ge=1)
    cool_down: Length = Field("4h", description="No entries for so long after losses_in_a_row.")
    error_rate: float = Field(0.2, gt=0, le=1, description="Live only: share of failed requests in five minutes.")
    max_data_age: Length = Field("3m", description="Live only: no closed bar for so long past its due time.")
    model_expires: Length = Field("45d", description="Live only: age of the bundle's last training row.")
    drift: bool = Field(True, description="Live only: the features have left the bundle's training range; see `drift`.")
    reset: Literal["next_day", "manual"] = Field(
        "next_day", description="`manual`: only by `pipeline reset-breaker`; history then stays halted to its end."
    )


class Risk(Section):
    """The rules that every order passes, in simulation and live alike."""

    enabled: bool = Field(True, description="false: no gates, limits or breakers, to compare with other engines.")
    gates: Gates = Gates()
    limits: Limits = Limits()
    breakers: Breakers = Breakers()
