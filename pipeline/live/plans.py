"""How an order is worked into the market: the plan that the config wishes for."""

from decimal import Decimal

from pipeline.config.serve import Entry
from pipeline.trading.execution import Chase, Plan, Pov, Twap
from pipeline.trading.filters import SymbolFilters, exact


def plan_of(wish: Entry, side: str, qty: Decimal, rules: SymbolFilters, now_ms: int) -> Plan | None:
    """The plan for an amount of base asset from now on; None: one market order."""
    step, least = rules.lots.step, rules.lots.least
    if wish.plan == "market":
        return None
    if wish.plan == "twap":
        slices = max(1, min(wish.slices, int(qty // max(step, least))))
        return Twap(side, qty, step, slices, now_ms, int(wish.duration * 1000), least)
    if wish.plan == "pov":
        return Pov(side, qty, step, exact(wish.participation), least)
    return Chase(
        side, qty, step, wish.attempts, exact(wish.band), int(wish.patience * 1000), int(wish.deadline * 1000),
        wish.plan == "post_only", wish.fallback,
    )  # fmt: skip
