"""Section `serve`: trading bar by bar, in shadow or live."""

from typing import Literal

from pydantic import Field, field_validator

from pipeline.config.section import Fraction, Section


class Entry(Section):
    """How an entry or an exit is worked into the market. The stop that protects a position is not concerned.

    market: one market order. limit: a limit order at the other side's price, moved `attempts` times, then market if
    `fallback`. post_only: the same at our own side of the book, as maker. twap, pov: in parts.
    """

    plan: Literal["market", "limit", "post_only", "twap", "pov"] = "market"
    attempts: int = Field(5, ge=1, le=100)
    band: Fraction = Field(0.002, description="Fraction that the price may run away before the entry is given up.")
    patience: float = Field(5.0, gt=0, description="Seconds before a limit order is moved.")
    deadline: float = Field(60.0, gt=0, description="Seconds after the decision; what is left then is dropped.")
    fallback: bool = Field(True, description="Take the rest at market at the deadline.")
    slices: int = Field(10, ge=1, description="twap: equal parts.")
    duration: float = Field(1800.0, gt=0, description="twap: seconds from the first part to the last.")
    participation: float = Field(0.05, gt=0, lt=1, description="pov: share of the market's volume.")


class Notify(Section):
    """Messages to people, through Apprise. The addresses are secrets and come from the environment."""

    variable: str = Field("PIPELINE_NOTIFY", description="Environment variable with Apprise URLs, separated by spaces.")
    events: list[Literal["signal", "order", "fill", "trade", "halt", "breaker", "daily", "start", "stop", "error"]] = [
        "fill", "trade", "halt", "breaker", "daily", "start", "stop", "error",
    ]  # fmt: skip
    score: bool = Field(False, description="Also a line with price and score at each bar.")
    score_every: float = Field(3600.0, gt=0, description="Seconds between two such lines at least.")
    per_hour: int = Field(60, ge=1, description="Messages at most; the rest are counted and summed up.")


class Log(Section):
    """data/NAME/serve/serve.log: one JSON object a line, without secrets."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    max_mb: float = Field(50, gt=0, description="Rotated at this size.")
    keep: int = Field(10, ge=0, description="Rotated files that are kept.")


class Serve(Section):
    """Live and shadow trading. Names that intelligent-trading-bot has are kept."""

    exchange: Literal["live", "testnet", "demo"] | str = Field(
        "live", description="Binance's live, testnet or demo exchange, or the URL of `pipeline exchange`."
    )
    store: str | None = Field(None, description="Journal: postgresql://… instead of data/NAME/serve/journal.sqlite.")
    capital: float | None = Field(
        None, gt=0, description="Quote asset to trade with; live, all that is free at the first start if absent."
    )
    entry: Entry = Entry()
    exit: Entry = Entry()
    protect: bool = Field(True, description="Let the stop, and the target, rest on the exchange.")
    stop_limit_band: Fraction | None = Field(
        None, description="Stop as STOP_LOSS_LIMIT with its limit so far beyond; a STOP_LOSS market order if absent."
    )
    order_timeout: float = Field(10.0, gt=0, description="Seconds until an order that is not filled is cancelled.")
    max_decision_age: float = Field(5.0, gt=0, description="Seconds after its close until a bar may still enter.")
    trailing_interval: float = Field(0.1, gt=0, description="Seconds between two looks at ticks for trailing stops.")
    reconcile_every: float = Field(3600.0, gt=0, description="Seconds between two comparisons with the exchange.")
    rehearse_every: float = Field(
        0.0, ge=0, le=0.2, description="Seconds between two rehearsals of the decision around a close; 0 for none."
    )
    foreign_orders: Literal["refuse", "ignore"] = Field(
        "refuse", description="Orders that are not ours: halt the symbol, or leave them alone."
    )
    percentage_used_for_trade: float | None = Field(
        None, gt=0, le=100, description="Percent of the equity for each trade, in place of sizing's own."
    )
    min_notional_usdt: float = Field(0.0, ge=0, description="Smaller entries are not sent.")
    limit_price_adjustment: float | None = Field(
        None, gt=-0.1, lt=0.1, description="Enter by a limit order at the close times (1 + this) instead of `entry`."
    )
    test_order_before_submit: bool = Field(False, description="Let the exchange check each order before it is sent.")
    simulate_order_execution: bool = Field(False, description="Stay in shadow even with --live.")
    no_trades_only_data_processing: bool = Field(False, description="Follow and decide, and order nothing.")
    notify: Notify = Notify()
    log: Log = Log()

    @field_validator("exchange")
    @classmethod
    def _known_exchange(cls, value: str) -> str:
        if value not in ("live", "testnet", "demo") and not value.startswith(("http://", "https://")):
            raise ValueError(f"'{value}' is neither live, testnet, demo nor a URL")
        return value
