"""What is told of each decided bar, and of each day."""

from pipeline.live.portfolio import Portfolio
from pipeline.live.strategy import Outlook
from pipeline.live.telling import Tell
from pipeline.market.candles import iso

_DAY_MS = 86_400_000
_SIDES = {1: "buy", 2: "sell", 3: "both"}


def say_bar(tell: Tell, outlook: Outlook, portfolio: Portfolio, bundle: str, late: bool) -> None:
    """Scores and signals of a bar."""
    bar, market = iso(outlook.open_time_ms), outlook.market
    for s, symbol in enumerate(portfolio.symbols):
        if symbol not in outlook.scores:
            continue
        fields = {
            "bundle": bundle, "bar": bar, "symbol": symbol, "score": float(market.score[s, 0]),
            "price": float(market.close[s, 0]),
        }  # fmt: skip
        tell("bar", **fields, late=late, equity=float(portfolio.account["equity"][0]))
        if market.signal[s, 0]:
            position = portfolio.position(symbol)
            ordered = bool(position["enter"] or position["leave"])
            tell("signal", **fields, side=_SIDES[int(market.signal[s, 0])], ordered=ordered)


class Days:
    """Sums up each UTC day when its last bar has been decided."""

    def __init__(self, tell: Tell, step_ms: int) -> None:
        self._tell, self._step_ms = tell, step_ms
        self._day: int | None = None

    def decided(self, open_time_ms: int, portfolio: Portfolio, bundle: str) -> None:
        """A bar has been decided."""
        day = (open_time_ms + self._step_ms) // _DAY_MS
        if self._day is not None and day != self._day:
            account = portfolio.account
            equity, start = float(account["equity"][0]), float(account["day_start"][0])
            self._tell(
                "daily", bar=iso(open_time_ms), equity=equity, pnl=equity - start,
                trades=int(account["trades"][0]), bundle=bundle,
            )  # fmt: skip
        self._day = day
