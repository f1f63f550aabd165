"""What a config lets `serve` do and `simulate` does not: said, so that no backtest differs from live in silence."""

from pipeline.config import Config


def not_simulated(config: Config) -> list[str]:
    """A sentence for each setting of `serve` that these figures know nothing of; none for the defaults."""
    serve = config.serve
    found = []
    for name, plan in (("entry", serve.entry.plan), ("exit", serve.exit.plan)):
        # A limit price takes the place of the plan.
        if plan != "market" and not (name == "entry" and serve.limit_price_adjustment is not None):
            found.append(
                f"serve.{name}.plan: {plan} is not simulated; here each {name} is a market order that fills at the "
                "next open at the taker's costs, and none is missed"
            )
    if serve.limit_price_adjustment is not None:
        found.append(
            "serve.limit_price_adjustment is not simulated; here each entry is a market order that fills at the next "
            "open, and live those that the price runs away from are missed: better trades than the mean"
        )
    if serve.percentage_used_for_trade is not None:
        found.append(
            f"serve.percentage_used_for_trade: live trades take {serve.percentage_used_for_trade:g} % of the equity; "
            f"here sizing.method {config.sizing.method} decides"
        )
    return found
