"""The gate: what a track record has to show before it may go a step nearer to real money.

Pure: `pipeline promote` and the study of its errors ask the same functions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config.gate import Gate
from pipeline.evaluation.bootstrap import better
from pipeline.evaluation.daily import DAY_MS, daily_returns
from pipeline.evaluation.performance import max_drawdown, trade_ratios
from pipeline.evaluation.shadow import Check
from pipeline.evaluation.significance import Evidence
from pipeline.evaluation.trials import Search

Array = npt.NDArray[np.float64]
# In this order, one at a time.
STEPS = ("candidate", "shadow", "testnet", "live")


@dataclass(frozen=True)
class Record:
    """A track record after costs.

    in_sample: whether models had seen any of it. days: of the returns, counted since 1970 [n]; returns: daily [n], none
    if the equity was used up. The rest is None where it is not defined.
    """

    trades: int
    win_rate: float | None
    profit_factor: float | None
    losses_in_a_row: int
    max_drawdown: float
    total_return: float
    in_sample: bool
    days: tuple[int, ...]
    returns: tuple[float, ...]

    def json(self) -> dict[str, Any]:
        """As values that JSON can hold."""
        return {**vars(self), "days": list(self.days), "returns": list(self.returns)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Record":
        """Of what `json` made. Raises TypeError, KeyError: it is something else."""
        return Record(**{**value, "days": tuple(value["days"]), "returns": tuple(value["returns"])})


def record_of(times_ms: npt.NDArray[np.int64], equity: Array, pnl: npt.ArrayLike, in_sample: bool = False) -> Record:
    """The record of an account.

    times_ms: open times [n] of bars. equity: at their closes [n]; the first is what the record starts from.
    pnl: profits and losses of the closed trades after costs, in the order in which they were closed.
    """
    profits = np.asarray(pnl, np.float64)
    ratios = trade_ratios(
        len(profits), int((profits > 0).sum()), float(profits[profits > 0].sum()), float(profits[profits < 0].sum())
    )
    returns = daily_returns(times_ms, equity)
    days = () if returns is None else np.unique(times_ms[1:] // DAY_MS).tolist()
    return Record(
        len(profits), ratios["win_rate"], ratios["profit_factor"], longest_loss(profits), max_drawdown(equity)[0],
        float(equity[-1] / equity[0] - 1), in_sample, tuple(days), () if returns is None else tuple(returns.tolist()),
    )  # fmt: skip


def longest_loss(pnl: npt.ArrayLike) -> int:
    """Most trades in a row without a profit."""
    profits = np.asarray(pnl, np.float64)
    wins = np.flatnonzero(profits > 0)
    return int(np.diff(np.concatenate([[-1], wins, [len(profits)]])).max()) - 1


def record_checks(record: Record, gate: Gate) -> list[Check]:
    """Checks of what was earned, and how."""
    return [
        Check(
            "out of sample", not record.in_sample,
            "in sample" if record.in_sample else "yes", "no bar was learned from",
            "signals.predictions: rolling, and `pipeline predict-rolling` make scores that are",
        ),
        _at_least("trades", record.trades, gate.trades, "{:,}"),
        _at_least("win rate", record.win_rate, gate.win_rate, "{:.1%}"),
        # Without a loss it is not defined, and beyond any limit.
        Check("profit factor", True, "no loss", f"at least {gate.profit_factor:g}")
        if record.profit_factor is None and record.trades and record.win_rate
        else _at_least("profit factor", record.profit_factor, gate.profit_factor, "{:.2f}"),
        Check(
            "drawdown", record.max_drawdown > -gate.drawdown,
            f"{record.max_drawdown:.1%}", f"above {-gate.drawdown:.0%}", "a smaller size makes it smaller",
        ),
        Check(
            "losses in a row", record.losses_in_a_row <= gate.losses_in_a_row,
            str(record.losses_in_a_row), f"at most {gate.losses_in_a_row}",
        ),
        Check("net profit", record.total_return > 0, f"{record.total_return:+.1%}", "above 0"),
    ]  # fmt: skip


def luck_checks(evidence: Evidence, overfitting: Mapping[str, Any] | None, sets: int, gate: Gate) -> list[Check]:
    """Checks of how much of it is luck.

    overfitting: `pbo`'s figures; None if they were not found. sets: that a grid chose from, 0 without a grid.
    """
    dsr = _at_least("deflated Sharpe ratio", evidence.dsr, gate.dsr, "{:.3f}")
    told = Check(dsr.name, dsr.passed, dsr.found, dsr.wanted, evidence.sentence)
    if overfitting is None:
        words = (
            f"no PBO of a grid of {sets:,} sets" if sets > 1 else f"no grid; {evidence.n_trials:,} trials count above"
        )
        why = "the history is too short to tell; leave out simulate.grid, or simulate more of it"
        return [told, Check("overfitting", sets <= 1, words, f"PBO's upper end at most {gate.pbo:g}", why)]
    low, high = overfitting["low"], overfitting["high"]
    return [
        told,
        Check(
            "overfitting", high <= gate.pbo, f"PBO {overfitting['pbo']:.3f}, interval {low:.3f} to {high:.3f}",
            f"upper end at most {gate.pbo:g}", overfitting["sentence"],
        ),
    ]  # fmt: skip


def search_checks(search: Search | None, gate: Gate) -> list[Check]:
    """Whether the search that the config comes from chose by luck; nothing to check without one."""
    if search is None:
        return []
    name, wanted = "overfitting of the search", f"PBO's upper end at most {gate.pbo:g}"
    of = f"of {search.sets:,} sets"
    if not search.ended:
        found = f"a search {of} has not come to its end"
        return [Check(name, False, found, wanted, "`pipeline optimize` with the same config ends it and says its PBO")]
    if not search.chose:
        return [Check(name, True, f"none {of} was chosen", wanted)]
    if search.overfitting is None:
        # What was chosen by how well outcomes are foretold was not chosen by returns.
        by_loss = search.objective == "log_loss"
        found = f"one {of} was chosen by log loss" if by_loss else f"no PBO {of}"
        return [Check(name, by_loss, found, wanted, "too few sets or days to tell: search more of either")]
    told = search.overfitting
    found = f"PBO {told['pbo']:.3f}, interval {told['low']:.3f} to {told['high']:.3f}, {of}"
    return [Check(name, told["high"] <= gate.pbo, found, wanted, told["sentence"])]


def champion_check(record: Record, champion: Record | None, is_same: bool, gate: Gate, seed: int) -> Check:
    """Better than the champion, on the days that both have walk-forward returns of.

    champion: None if there is none. is_same: whether both are of the same config and code. The same strategy with newer
    data says the same of the past: it only must not be worse. Another one has to be better.
    """
    name = "against the champion"
    if champion is None:
        return Check(name, True, "there is none", "better")
    days, own, theirs = np.intersect1d(record.days, champion.days, return_indices=True)
    if len(days) < gate.compare_days:
        return Check(name, False, f"{len(days)} days in common", f"at least {gate.compare_days}")
    a, b = np.asarray(record.returns)[own], np.asarray(champion.returns)[theirs]
    if np.array_equal(a, b):
        found = f"the same returns on {len(days):,} days"
        return Check(name, is_same, found, "not worse" if is_same else "better", "another config must show others")
    found_by = better(a, b, names=("its Sharpe ratio", "the champion's"), seed=seed)
    words = f"{found_by.difference:+.2f} in the Sharpe ratio, p = {found_by.p_value:.3f}, {len(days):,} days"
    if is_same:
        return Check(name, found_by.high >= 0, words, "not worse", found_by.sentence)
    passed = found_by.difference > 0 and found_by.p_value <= gate.champion_p
    return Check(name, passed, words, f"better, p at most {gate.champion_p:g}", found_by.sentence)


def step_check(stage: str, to: str) -> Check:
    """One step at a time; a step may be asked for again."""
    at, wanted = STEPS.index(stage), STEPS.index(to)
    following = STEPS[min(at + 1, len(STEPS) - 1)]
    return Check("step", 0 < wanted <= at + 1, f"from {stage} to {to}", "one at a time", f"next is {following}")


def days_check(name: str, days: float, least: float, by: str) -> Check:
    """Enough days lived through. by: how more are made."""
    return Check(name, days >= least, f"{days:.1f} days", f"at least {least:g}", by)


def passed(checks: Sequence[Check]) -> bool:
    """Whether all did."""
    return all(check.passed for check in checks)


def _at_least(name: str, found: float | None, least: float, form: str) -> Check:
    words = "none" if found is None else form.format(found)
    return Check(name, found is not None and found >= least, words, f"at least {form.format(least)}")
