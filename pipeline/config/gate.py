"""Section `gate`: what a bundle has to show before it may go a step nearer to real money."""

from typing import Literal

from pydantic import Field

from pipeline.config.section import Fraction, Section


class Gate(Section):
    """Steps: candidate, shadow, testnet, live. Figures are of the walk-forward, after costs; see `pipeline promote`."""

    trades: int = Field(100, ge=1, description="At least.")
    win_rate: Fraction = Field(0.52, description="At least.")
    profit_factor: float = Field(1.3, ge=0, description="Gains over losses, at least.")
    drawdown: float = Field(0.15, gt=0, le=1, description="Depth of the deepest drawdown, less than this.")
    losses_in_a_row: int = Field(10, ge=1, description="At most.")
    dsr: float = Field(0.95, ge=0.5, lt=1, description="Deflated Sharpe ratio, at least.")
    pbo: Fraction = Field(
        0.7, description="Upper end of the interval of the probability of overfitting, at most; of a grid."
    )
    champion: str | None = Field(
        None, description="Name of the config whose live bundle has to be beaten; this one's own if absent."
    )
    champion_p: float = Field(
        0.05, gt=0, le=0.5, description="p-value of being no better than the champion, at most; another strategy's."
    )
    compare_days: int = Field(30, ge=10, description="Days that both have figures of, at least.")
    shadow_days: float = Field(7, ge=0, description="Days on paper before the test exchange, at least.")
    testnet_days: float = Field(30, ge=0, description="Days on the test exchange before real money, at least.")
    days_of: Literal["config", "bundle"] = Field(
        "config", description="Whose days count: those of all bundles of the same config and code, or this one's alone."
    )
    live_cap: float = Field(1000, gt=0, description="Largest serve.capital with real money, in the quote asset.")
