"""What holds between `simulate`, `sizing` and `risk`: rules that contradict each other are refused before running."""

from collections.abc import Iterator

from pipeline.config.meta import meta_label, second_columns
from pipeline.config.model import Config


def trading_problems(config: Config) -> Iterator[str]:
    """Each contradiction as `key: what is wrong`."""
    yield from _futures(config)
    yield from _sizing(config)
    yield from _probability(config)
    yield from _filters(config)
    yield from _gates(config)


def liquidation_distance(leverage: float, maintenance: float, side: int) -> float:
    """Fraction of the entry price between entry and liquidation of an isolated position."""
    return side * (1 - (1 - side / leverage) / (1 - side * maintenance))


def _futures(config: Config) -> Iterator[str]:
    simulate = config.simulate
    if simulate.leverage > 1 and config.download.market == "spot":
        yield f"simulate.leverage: {simulate.leverage:g} on the spot market; set download.market: um, or leverage: 1"
    if simulate.funding and not config.merge.funding:
        yield "simulate.funding: there are no rates to pay; set download.funding and merge.funding as well"
    stop = simulate.exits.stop_loss
    if simulate.leverage > 1 and stop is not None:
        sides = {"long": [1], "short": [-1], "both": [1, -1]}[simulate.direction]
        nearest = min(liquidation_distance(simulate.leverage, simulate.maintenance_margin, side) for side in sides)
        if stop >= nearest:
            yield (
                f"simulate.exits.stop_loss: {stop:g} lies beyond liquidation, which comes {nearest:.4g} from the entry "
                f"at leverage {simulate.leverage:g}; bring the stop nearer or lower the leverage"
            )


def _sizing(config: Config) -> Iterator[str]:
    sizing, simulate = config.sizing, config.simulate
    exits, most = simulate.exits, simulate.initial_cash * simulate.leverage
    stops = (exits.stop_loss, exits.stop_atr, exits.trailing_stop, exits.trailing_atr)
    if sizing.method == "risk_per_trade" and all(stop is None for stop in stops):
        yield "sizing.method: risk_per_trade sizes by the stop's distance; set simulate.exits.stop_loss or another stop"
    if sizing.method == "fixed_fraction" and sizing.fraction > simulate.leverage:
        yield (
            f"sizing.fraction: {sizing.fraction:g} of the equity is more than simulate.leverage "
            f"{simulate.leverage:g} allows"
        )
    if sizing.method == "fixed_quote" and sizing.quote is not None and sizing.quote > most:
        yield f"sizing.quote: {sizing.quote:g} is more than simulate.initial_cash, {simulate.initial_cash:g}, can buy"


def _probability(config: Config) -> Iterator[str]:
    columns = second_columns(config)
    if config.meta is not None and meta_label(config) is None:
        yield "meta: the second stage has nothing to learn; add a label: labels: - meta: {horizon: 4h}"
    if config.sizing.probability is None:
        return
    if not columns:
        yield "sizing.probability: nothing makes it; add the section meta and a `meta` label"
    elif config.signals.predictions == "features":
        yield "sizing.probability: with signals.predictions: features there is no second stage"
    else:
        judged = {side for _, side in columns.values()}
        wanted = {"long": {1}, "short": {-1}, "both": {1, -1}}[config.simulate.direction]
        if not wanted <= judged:
            yield (
                f"sizing.probability: simulate.direction is {config.simulate.direction}, and the `meta` label does not "
                "judge that side; set its `side`"
            )


def _filters(config: Config) -> Iterator[str]:
    cap, most = config.risk.limits.order_notional, config.simulate.initial_cash * config.simulate.leverage
    for symbol, filters in config.simulate.filters.items():
        where = f"simulate.filters.{symbol}"
        if symbol != "default" and symbol not in config.symbols:
            yield f"{where}: is none of the symbols {', '.join(config.symbols)}"
        if cap is not None and cap < filters.min_notional:
            yield (
                f"risk.limits.order_notional: {cap:g} is below min_notional {filters.min_notional:g} of {where}: "
                "no order could be sent"
            )
        if filters.min_notional > most:
            yield f"{where}.min_notional: {filters.min_notional:g} is more than simulate.initial_cash can buy"


def _gates(config: Config) -> Iterator[str]:
    gate, exits = config.risk.gates.reward_risk, config.simulate.exits
    if gate is None:
        return
    by_atr = exits.stop_atr is not None or exits.trailing_atr is not None or exits.take_profit_atr is not None
    stops = [distance for distance in (exits.stop_loss, exits.trailing_stop) if distance is not None]
    if not stops and exits.stop_atr is None and exits.trailing_atr is None:
        yield "risk.gates.reward_risk: needs a stop to divide by; set simulate.exits.stop_loss or another stop"
    elif exits.take_profit is None and exits.take_profit_atr is None:
        yield "risk.gates.reward_risk: needs a target; set simulate.exits.take_profit"
    elif exits.take_profit is not None and not by_atr:
        ratio, least = exits.take_profit / min(stops), min(gate.trending, gate.ranging)
        if ratio < least * (1 - 1e-12):
            yield (
                f"risk.gates.reward_risk: take_profit {exits.take_profit:g} over stop {min(stops):g} is {ratio:.3g}, "
                f"below {least:g}: every entry would be refused"
            )
