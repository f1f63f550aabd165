"""Who needs to know the best prices between two bars."""

from pipeline.config import Config


def wants_quotes(config: Config) -> bool:
    """Whether anything follows the book between two bars."""
    exits = config.simulate.exits
    trails = exits.trailing_stop is not None or exits.trailing_atr is not None
    plans = {config.serve.entry.plan, config.serve.exit.plan} != {"market"}
    # A stop with a limit may be jumped over.
    jumps = config.serve.protect and config.serve.stop_limit_band is not None
    return plans or trails or jumps or (config.risk.enabled and config.risk.gates.spread is not None)
