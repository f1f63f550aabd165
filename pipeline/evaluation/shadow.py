"""What was traded against a simulation of the same bars: trades side by side, and the gate's checks of a shadow run.

Pure: the stage `shadow-report` gathers what is compared, the gate asks `shadow_checks` for its verdict.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Trade = Mapping[str, Any]
# Fields in which trades of the same bars have to agree to the last bit.
FIELDS = (
    "symbol", "side", "entry_time", "entry_price", "exit_time", "exit_price", "qty", "fees", "pnl", "return",
    "exit_reason", "bars_held", "mae", "mfe",
)  # fmt: skip


@dataclass(frozen=True)
class Check:
    """One line of the pass/fail table. found, wanted: in words; why: what to do or think of it if it fails."""

    name: str
    passed: bool
    found: str
    wanted: str
    why: str = ""


@dataclass(frozen=True)
class Difference:
    """One field over all bars: values compared, how many differ, and the first that does, in words."""

    compared: int = 0
    differing: int = 0
    first: str = ""


@dataclass(frozen=True)
class Pair:
    """A realised trade and the simulated one that it should have been."""

    realised: Trade
    simulated: Trade

    @property
    def entry_bps(self) -> float:
        """How much worse the entry's price was than simulated, in hundredths of a percent."""
        return _worse("entry_price", self, 1 if self.realised["side"] == "long" else -1)

    @property
    def exit_bps(self) -> float:
        """How much worse the exit's price was."""
        return _worse("exit_price", self, -1 if self.realised["side"] == "long" else 1)

    def unequal(self) -> list[str]:
        """Fields in which the two differ."""
        return [name for name in FIELDS if not _same(self.realised[name], self.simulated[name])]


@dataclass(frozen=True)
class Matching:
    """Trades of both sides. missed: simulated and not realised; extra: realised and not simulated."""

    pairs: tuple[Pair, ...] = ()
    missed: tuple[Trade, ...] = ()
    extra: tuple[Trade, ...] = ()


@dataclass(frozen=True)
class ShadowRun:
    """What is known of a run.

    mode: shadow or live. bars: compared; absent: bars of the journal that are not on file. late: bars decided too late
    to enter. fields: what the journal and the simulation say of each bar, by name. age_ms: how old bars were when they
    were decided. same_config: whether the simulation was made with the config that the run was.
    """

    mode: str
    bars: int
    absent: int
    late: int
    fields: Mapping[str, Difference]
    trades: Matching
    age_ms: Sequence[float] = ()
    same_config: bool = True


@dataclass(frozen=True)
class Limits:
    """What a run may differ by. On paper nothing may; on an exchange the bars and decisions may not, prices may.

    bars: compared at least. age_ms: of the bars at their decision, at the 99th percentile. late: share of bars.
    matched: share of all live trades that are in both. slippage_bps: mean by which live prices are worse.
    """

    bars: int = 1
    age_ms: float = 5000.0
    late: float = 0.01
    matched: float = 0.95
    slippage_bps: float = 10.0


# What the bar's own record says; gates and orders depend on what only live trading knows, too.
_EXACT = ("close", "score", "signal")
_ON_PAPER = (*_EXACT, "gate", "order", "exit", "equity")


def match_trades(realised: Sequence[Trade], simulated: Sequence[Trade], tolerance_ms: int = 0) -> Matching:
    """Pair trades of one symbol and side whose entries lie in the same bar, or at most `tolerance_ms` apart.

    Each is used once, the nearest first; equally near ones in the order of time.
    """
    near = sorted(
        (abs(a["entry_time"] - b["entry_time"]), a["entry_time"], b["entry_time"], i, j)
        for i, a in enumerate(realised)
        for j, b in enumerate(simulated)
        if (a["symbol"], a["side"]) == (b["symbol"], b["side"])
        and abs(a["entry_time"] - b["entry_time"]) <= tolerance_ms
    )
    used: dict[int, int] = {}
    taken: set[int] = set()
    for _, _, _, i, j in near:
        if i not in used and j not in taken:
            used[i] = j
            taken.add(j)
    return Matching(
        tuple(Pair(realised[i], simulated[j]) for i, j in sorted(used.items())),
        tuple(trade for j, trade in enumerate(simulated) if j not in taken),
        tuple(trade for i, trade in enumerate(realised) if i not in used),
    )


def shadow_checks(run: ShadowRun, limits: Limits | None = None) -> list[Check]:
    """The gate's checks of a run, in the order to show."""
    limits = limits or Limits()
    checks = [
        Check(
            "config", run.same_config, "the run's" if run.same_config else "another one", "the run's",
            "give the config, --set and --symbol that `pipeline serve` was started with",
        ),
        Check("bars compared", run.bars >= limits.bars, f"{run.bars:,}", f"at least {limits.bars:,}"),
        Check(
            "bars on file", run.absent == 0, f"{run.absent:,} missing", "none missing",
            "run `pipeline download` and `pipeline merge`, then this again",
        ),
    ]  # fmt: skip
    for name in _ON_PAPER if run.mode == "shadow" else _EXACT:
        checks.append(_field(name, run.fields.get(name, Difference())))
    checks += _on_paper(run.trades) if run.mode == "shadow" else _at_exchange(run.trades, limits)
    share = run.late / run.bars if run.bars else 0.0
    checks.append(Check("late bars", share <= limits.late, f"{share:.2%}", f"at most {limits.late:.2%}"))
    if run.age_ms:
        age = quantile(run.age_ms, 0.99)
        checks.append(
            Check("age of bars at p99", age <= limits.age_ms, f"{age:,.1f} ms", f"at most {limits.age_ms:,.0f} ms")
        )
    return checks


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least a share of the values do not exceed; not a number of none."""
    if not values:
        return math.nan
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


def mean(values: Sequence[float]) -> float:
    """Not a number of none."""
    return sum(values) / len(values) if values else math.nan


def _field(name: str, found: Difference) -> Check:
    text = f"{found.compared:,} equal"
    if found.differing:
        text = f"{found.differing:,} of {found.compared:,} differ; first {found.first}"
    passed = found.compared > 0 and not found.differing
    return Check(f"{name} of each bar", passed, text, "all equal to the last bit", "other bars, config or bundle?")


def _on_paper(trades: Matching) -> list[Check]:
    unequal = [(pair, pair.unequal()) for pair in trades.pairs]
    wrong = [(pair, names) for pair, names in unequal if names]
    found = f"{len(trades.pairs)} equal"
    if wrong:
        pair, names = wrong[0]
        found = f"{len(wrong)} of {len(trades.pairs)} differ; first {pair.realised['symbol']} in {', '.join(names)}"
    return [
        Check("trades equal to a simulation", not wrong, found, "all, in every field"),
        *_both_sides(trades, 0),
    ]


def _both_sides(trades: Matching, allowed: int) -> list[Check]:
    return [
        Check("missed trades", len(trades.missed) <= allowed, str(len(trades.missed)), f"at most {allowed}"),
        Check("extra trades", len(trades.extra) <= allowed, str(len(trades.extra)), f"at most {allowed}"),
    ]


def _at_exchange(trades: Matching, limits: Limits) -> list[Check]:
    count = len(trades.pairs) + len(trades.missed) + len(trades.extra)
    share = len(trades.pairs) / count if count else 1.0
    worse = mean([bps for pair in trades.pairs for bps in (pair.entry_bps, pair.exit_bps)])
    return [
        Check(
            "trades in both", share >= limits.matched,
            f"{len(trades.pairs)} of {count}; {len(trades.missed)} missed, {len(trades.extra)} extra",
            f"at least {limits.matched:.0%}",
        ),
        Check(
            "prices worse than simulated", not worse > limits.slippage_bps,
            "no trade" if math.isnan(worse) else f"{worse:+.2f} bps on average", f"at most {limits.slippage_bps:g} bps",
        ),
    ]  # fmt: skip


def _worse(name: str, pair: Pair, side: int) -> float:
    return side * (float(pair.realised[name]) / float(pair.simulated[name]) - 1) * 10_000


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b):
        return True
    return bool(a == b)


@dataclass(frozen=True)
class Spread:
    """A distribution in three numbers; not numbers if there are no values."""

    count: int
    p50: float
    p95: float
    p99: float
    mean: float


def spread(values: Sequence[float]) -> Spread:
    """Median, 95th and 99th percentile, and mean."""
    p50, p95, p99 = (quantile(values, share) for share in (0.5, 0.95, 0.99))
    return Spread(len(values), p50, p95, p99, mean(values))
