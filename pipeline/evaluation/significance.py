"""Is a Sharpe ratio evidence, given how long it was watched and how many were tried?

Ratios of one period go into the formulas and ratios of a year into `deflated` and out of it: a year has as many periods
as the caller says, 365 for the daily returns of a market that never closes.
Sources: Bailey & López de Prado (2012), The Sharpe Ratio Efficient Frontier; Bailey, Borwein, López de Prado & Zhu
(2014), Pseudo-Mathematics and Financial Charlatanism; Bailey & López de Prado (2014), The Deflated Sharpe Ratio.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from pipeline.evaluation.trials import TrialLedger, Tried

DAYS_A_YEAR = 365.0
CONFIDENCE = 0.95
# What a pass rate is told for: a Sharpe ratio that few strategies keep up.
GOOD_SHARPE = 3.0
# The shortest record that is judged: the normal approximation of a Sharpe ratio needs a sample.
FEWEST_RETURNS = 10


@dataclass(frozen=True)
class Evidence:
    """What a track record proves. Sharpe ratios are of a year; None where the returns have none.

    n: returns. sharpe, skew, kurtosis: of them (a normal distribution's kurtosis is 3). psr: probability that the true
    Sharpe ratio is above 0, had this been the only trial. n_trials, n_effective: trials, and how many independent ones
    reach as high by luck. trial_std: how widely the trials' Sharpe ratios scatter. sr0: the highest that such trials
    show by luck on average. dsr: probability that the true Sharpe ratio is above `sr0`. min_trl: returns after which
    this ratio would be significantly above 0; None if never. min_btl_years: length of history below which the best of
    the trials shows such a ratio by luck; None for a ratio that is not positive. power: chance that a true Sharpe
    ratio of 3 would pass here. detectable: the true Sharpe ratio that passes in four cases of five. confidence: that
    psr and dsr must reach. sentence: all that in plain words.
    """

    n: int
    sharpe: float | None
    skew: float | None
    kurtosis: float | None
    psr: float | None
    n_trials: int
    n_effective: float
    trial_std: float
    sr0: float
    dsr: float | None
    min_trl: float | None
    min_btl_years: float | None
    power: float | None
    detectable: float | None
    confidence: float
    sentence: str

    @property
    def passes(self) -> bool:
        """Whether the deflated Sharpe ratio reaches the confidence."""
        return self.dsr is not None and self.dsr >= self.confidence


def expected_max(trials: float) -> float:
    """Expected maximum of so many independent standard normal variables, 0 for one.

    Source: Bailey et al. (2014), Proposition 1: (1 − γ)·Φ⁻¹(1 − 1/N) + γ·Φ⁻¹(1 − 1/(N·e)).
    Raises ValueError: fewer than one trial.
    """
    if not trials >= 1:
        raise ValueError(f"trials = {trials}: at least one was made")
    if trials == 1:
        return 0.0
    gamma = np.euler_gamma
    return max(0.0, float((1 - gamma) * ndtri(1 - 1 / trials) + gamma * ndtri(1 - 1 / (trials * math.e))))


def expected_max_sharpe(trials: float, variance: float) -> float:
    """SR0: the highest Sharpe ratio that trials without skill show on average.

    variance: of the trials' Sharpe ratios, of the same period as the result.
    """
    if not variance >= 0:
        raise ValueError(f"variance = {variance}: must not be negative")
    return math.sqrt(variance) * expected_max(trials)


def probabilistic_sharpe(
    sharpe: float, n: int, skew: float = 0.0, kurtosis: float = 3.0, benchmark: float = 0.0
) -> float:
    """PSR: probability that the true Sharpe ratio is above the benchmark, both of one period.

    n: returns that it was measured on, at least 2. kurtosis: 3 for a normal distribution. With `expected_max_sharpe` as
    the benchmark this is the deflated Sharpe ratio, DSR.
    """
    if n < 2:
        raise ValueError(f"n = {n}: a Sharpe ratio needs two returns")
    return float(ndtr((sharpe - benchmark) * math.sqrt(n - 1) / _spread(sharpe, skew, kurtosis)))


def min_track_record(
    sharpe: float, skew: float = 0.0, kurtosis: float = 3.0, benchmark: float = 0.0, confidence: float = CONFIDENCE
) -> float:
    """MinTRL: how many returns it takes until PSR reaches the confidence; infinite if the ratio is not above.

    sharpe, benchmark: of one period.
    """
    if not 0.5 <= confidence < 1:
        raise ValueError(f"confidence = {confidence}: must be from 0.5 to below 1")
    if sharpe <= benchmark:
        return math.inf
    reach = _spread(sharpe, skew, kurtosis) * float(ndtri(confidence)) / (sharpe - benchmark)
    return 1 + reach * reach  # infinite where it is beyond a float, which ** is not


def min_backtest_years(trials: float, sharpe: float = 1.0) -> float:
    """MinBTL: years of history below which the best of so many trials without skill shows this annual Sharpe ratio."""
    if not sharpe > 0:
        raise ValueError(f"sharpe = {sharpe}: must be positive")
    reach = expected_max(trials) / sharpe
    return reach * reach


def sharpe_ratio(returns: npt.ArrayLike) -> float | None:
    """Mean over standard deviation (n − 1), of one period; None if the returns do not vary."""
    values = np.asarray(returns, np.float64)
    # The spread of equal values is not quite 0 once they are summed: their range is.
    if len(values) < 2 or np.ptp(values) == 0:
        return None
    return float(values.mean() / values.std(ddof=1))


def annual_sharpe(returns: npt.ArrayLike, periods_per_year: float = DAYS_A_YEAR) -> float | None:
    """Sharpe ratio of a year, by default of daily returns; None if the returns do not vary."""
    ratio = sharpe_ratio(returns)
    return None if ratio is None else ratio * math.sqrt(periods_per_year)


def deflated(
    returns: npt.ArrayLike,
    trials: Tried | TrialLedger | npt.ArrayLike,
    *,
    periods_per_year: float = DAYS_A_YEAR,
    confidence: float = CONFIDENCE,
) -> Evidence:
    """What the returns [n] of the strategy chosen prove, after all that was tried.

    trials: a ledger; what `TrialLedger.tried` told; or the *annual* Sharpe ratios of all trials, the chosen one among
    them, which then count as independent (`effective_trials` tells how many are). Their variance
    (`trials.luck_variance`) is taken as no less than that of the ratio of `n` returns without skill, 1/(n − 1): that of
    few trials, or of trials that are much alike, is less by accident, and luck is not.

    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> noise = rng.normal(0, 0.01, (730, 100))  # two years of days, a hundred strategies without skill
    >>> sharpes = np.sqrt(365) * noise.mean(0) / noise.std(0, ddof=1)
    >>> print(deflated(noise[:, sharpes.argmax()], sharpes).sentence)
    With 100 trials, a Sharpe ratio of 1.48 is what luck alone would show (1.79); DSR 0.33: not evidence.

    Raises ValueError: a return is not finite.
    """
    values = np.asarray(returns, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError("returns must be one row of finite numbers")
    tried = _tried(trials)
    n, year = len(values), math.sqrt(periods_per_year)
    least = 1 / max(n - 1, 1)
    variance = max(least, 0.0 if tried.variance is None else tried.variance / periods_per_year)
    sr0 = expected_max_sharpe(tried.effective, variance)
    common = {
        "n": n, "n_trials": tried.count, "n_effective": tried.effective, "trial_std": math.sqrt(variance) * year,
        "sr0": sr0 * year, "confidence": confidence,
    }  # fmt: skip
    sharpe = sharpe_ratio(values) if n >= FEWEST_RETURNS else None
    if sharpe is None:
        why = f"only {n} returns" if n < FEWEST_RETURNS else "the returns do not vary"
        nothing = dict.fromkeys(
            ("sharpe", "skew", "kurtosis", "psr", "dsr", "min_trl", "min_btl_years", "power", "detectable")
        )
        return Evidence(**common, **nothing, sentence=f"No Sharpe ratio to judge: {why}; not evidence.")  # type: ignore[arg-type]
    skew, kurtosis = _shape(values)
    dsr = probabilistic_sharpe(sharpe, n, skew, kurtosis, sr0)
    record = min_track_record(sharpe, skew, kurtosis, 0.0, confidence)
    history = min_backtest_years(tried.effective, sharpe * year) if sharpe > 0 else math.inf
    return Evidence(
        sharpe=sharpe * year,
        skew=skew,
        kurtosis=kurtosis,
        psr=probabilistic_sharpe(sharpe, n, skew, kurtosis),
        dsr=dsr,
        min_trl=record if math.isfinite(record) else None,
        min_btl_years=history if math.isfinite(history) else None,
        power=_power(GOOD_SHARPE / year, sr0, n, confidence),
        detectable=year * (sr0 + float(ndtri(confidence) + ndtri(0.8)) / math.sqrt(n - 1)),
        sentence=_sentence(tried, sharpe * year, sr0 * year, dsr, confidence),
        **common,  # type: ignore[arg-type]
    )


def _spread(sharpe: float, skew: float, kurtosis: float) -> float:
    # Standard deviation of a Sharpe ratio, times √(n − 1).
    squared = 1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2
    if not squared > 0:
        raise ValueError(f"no returns have a skew of {skew:g} and a kurtosis of {kurtosis:g}")
    return math.sqrt(squared)


def _shape(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    # Skew and kurtosis, of the sample as it is.
    z = (values - values.mean()) / values.std()
    return float((z**3).mean()), float((z**4).mean())


def _power(true: float, sr0: float, n: int, confidence: float) -> float:
    return float(ndtr((true - sr0) * math.sqrt(n - 1) - ndtri(confidence)))


def _tried(trials: Tried | TrialLedger | npt.ArrayLike) -> Tried:
    if isinstance(trials, Tried):
        return trials
    return trials.tried() if isinstance(trials, TrialLedger) else Tried.independent(trials)


def _sentence(tried: Tried, sharpe: float, sr0: float, dsr: float, confidence: float) -> str:
    alike = f" (as {tried.effective:,.0f} independent ones)" if round(tried.effective) < tried.count else ""
    after = f"With {tried.count:,} trial{'s' if tried.count > 1 else ''}{alike}"
    verdict = f"DSR {dsr:.2f}: {'evidence' if dsr >= confidence else 'not evidence'}."
    luck = f"luck alone would show a Sharpe ratio of {sr0:.2f}"
    if dsr >= confidence:
        return f"{after}, {luck}; {sharpe:.2f} is more; {verdict}"
    if sharpe <= 0:
        return f"{after}, the Sharpe ratio is {sharpe:.2f}: it earned nothing; {verdict}"
    if sharpe <= sr0:
        return f"{after}, a Sharpe ratio of {sharpe:.2f} is what luck alone would show ({sr0:.2f}); {verdict}"
    return f"{after}, {luck}; {sharpe:.2f} is more, but too little for so short a record; {verdict}"
