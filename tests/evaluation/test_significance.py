"""Significance, against the figures that the papers and other packages print."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from purgedcv import deflated_sharpe_ratio_full, min_track_record_length, minimum_backtest_length

from pipeline.evaluation.significance import (
    deflated,
    expected_max,
    expected_max_sharpe,
    min_backtest_years,
    min_track_record,
    probabilistic_sharpe,
    sharpe_ratio,
)
from pipeline.evaluation.trials import Trial, TrialLedger, Tried

# Bailey & López de Prado, The Deflated Sharpe Ratio (2014), the example and its two variants (N = 46 is where it
# crosses 95 %; normal returns, N = 88), with the digits of pypbo's test_dsr; the last row is mlfinlab's, per period.
# sharpe, periods a year, n, skew, kurtosis, trials, variance of the ratios, SR0 per period, DSR
DSR = [
    (2.5, 250, 1250, -3, 10, 100, 0.5, 0.113172, 0.9003968344493903),
    (2.5, 250, 1250, -3, 10, 46, 0.5, None, 0.9505017068755787),
    (2.5, 250, 1250, 0, 3, 88, 0.5, None, 0.9504908166760139),
    (1.14, 1, 250, 0, 3, 100, 0.4**2, 1.012241, 0.94174),
]
# The Sharpe Ratio Efficient Frontier (2012), pypbo's test_psr; the last row is mlfinlab's.
# sharpe, periods a year, n, skew, kurtosis, benchmark, PSR
PSR = [
    (1.585, 12, 24, -2.448, 10.164, 0, 0.9132343068848602),
    (1.585, 12, 24, 0, 3, 0, 0.9815912360834967),
    (1.14, 1, 250, 0, 3, 1, 0.9572778803),
]
# The same paper: sharpe, benchmark, periods a year, skew, kurtosis, years of MinTRL.
MIN_TRL = [
    (2, 1, 250, 0, 3, 2.731187801728176),
    (2, 1, 52, 0, 3, 2.828833586945237),
    (3, 2.5, 12, -0.72, 5.78, 27.3529201960403),
]


def digits(value: float) -> float:
    """One unit of the last digit that is printed: some sources cut the rest off, others round."""
    return 10.0 ** -len(repr(value).partition(".")[2])


@pytest.mark.parametrize(
    ("trials", "z"),
    # pypbo tests/test_pbo.py::test_expected_max
    [(100, 2.5306028932016846), (45, 2.2356401777664052), (10, 1.57459830134575), (1000, 3.255121513652723)],
)
def test_the_expected_maximum_is_the_papers(trials: int, z: float) -> None:
    assert expected_max(trials) == pytest.approx(z, rel=1e-15)


@pytest.mark.parametrize(("sharpe", "year", "n", "skew", "kurtosis", "trials", "variance", "sr0", "dsr"), DSR)
def test_the_deflated_sharpe_ratio_is_the_papers(
    sharpe: float,
    year: float,
    n: int,
    skew: float,
    kurtosis: float,
    trials: int,
    variance: float,
    sr0: float,
    dsr: float,
) -> None:
    luck = expected_max_sharpe(trials, variance / year)
    found = probabilistic_sharpe(sharpe / year**0.5, n, skew, kurtosis, luck)
    assert found == pytest.approx(dsr, abs=max(digits(dsr), 1e-15))
    assert sr0 is None or luck == pytest.approx(sr0, abs=digits(sr0))


@pytest.mark.parametrize(("sharpe", "year", "n", "skew", "kurtosis", "benchmark", "psr"), PSR)
def test_the_probabilistic_sharpe_ratio_is_the_papers(
    sharpe: float, year: float, n: int, skew: float, kurtosis: float, benchmark: float, psr: float
) -> None:
    found = probabilistic_sharpe(sharpe / year**0.5, n, skew, kurtosis, benchmark)
    assert found == pytest.approx(psr, abs=max(digits(psr), 1e-15))


@pytest.mark.parametrize(("sharpe", "benchmark", "year", "skew", "kurtosis", "years"), MIN_TRL)
def test_the_minimum_track_record_length_is_the_papers(
    sharpe: float, benchmark: float, year: float, skew: float, kurtosis: float, years: float
) -> None:
    found = min_track_record(sharpe / year**0.5, skew, kurtosis, benchmark / year**0.5) / year
    assert found == pytest.approx(years, rel=1e-14)


def test_the_minimum_track_record_length_is_mlfinlabs_in_observations() -> None:
    assert min_track_record(1.14, benchmark=1.0) == pytest.approx(228.73497, abs=digits(228.73497))


def test_the_minimum_backtest_length_is_the_papers() -> None:
    assert min_backtest_years(45, 1.0) == pytest.approx(4.998087004443404, rel=1e-14)


def test_the_literals_are_those_of_the_shared_file() -> None:
    path = Path(os.environ.get("PIPELINE_REAL_DATA", "absent")).parent / "reference_values.json"
    if not path.is_file():
        pytest.skip("the file of reference values is not here; its values are above as literals")
    values = json.loads(path.read_text())
    for row in values["emax_z"]:
        assert expected_max(row["N"]) == pytest.approx(row["z"], rel=1e-15)
    for row in values["dsr"]:
        year = row.get("ppy", 1)
        variance = row["var_sr_ann"] / year if "var_sr_ann" in row else row["std_sr"] ** 2
        luck = expected_max_sharpe(row["N"], variance)
        sharpe = row.get("sr_ann", row.get("sr")) / year**0.5
        found = probabilistic_sharpe(sharpe, row["T"], row["skew"], row["kurt"], luck)
        assert found == pytest.approx(row["dsr"], abs=max(digits(row["dsr"]), 1e-15))
        for key in ("sr0_daily", "bench"):
            assert key not in row or luck == pytest.approx(row[key], abs=digits(row[key]))
    for row in values["psr"]:
        sharpe = row.get("sr_ann", row.get("sr")) / row.get("ppy", 1) ** 0.5
        found = probabilistic_sharpe(sharpe, row["T"], row["skew"], row["kurt"], row["bench"])
        assert found == pytest.approx(row["psr"], abs=max(digits(row["psr"]), 1e-15))
    for row in values["min_trl_years"]:
        year = row["ppy"]
        ratios = (row["sr_ann"] / year**0.5, row["skew"], row["kurt"], row["bench_ann"] / year**0.5, row["p"])
        assert min_track_record(*ratios) / year == pytest.approx(row["years"], rel=1e-14)
    for row in values["min_trl_obs"]:
        found = min_track_record(row["sr"], row["skew"], row["kurt"], row["bench"], 1 - row["alpha"])
        assert found == pytest.approx(row["n"], abs=digits(row["n"]))
    for row in values["min_btl_years"]:
        assert min_backtest_years(row["N"], row["max_is_sr"]) == pytest.approx(row["years"], rel=1e-14)


RATIO, SKEW = st.floats(-0.5, 0.5), st.floats(-2, 2)


@given(sharpe=RATIO, skew=SKEW, benchmark=RATIO, confidence=st.floats(0.5, 0.999))
def test_a_record_of_the_minimum_length_just_reaches_the_confidence(
    sharpe: float, skew: float, benchmark: float, confidence: float
) -> None:
    n = min_track_record(sharpe, skew, 3 + skew**2, benchmark, confidence)
    if math.isinf(n):
        assert sharpe - benchmark < 1e-150
    elif 2 < n < 1e9:
        below = probabilistic_sharpe(sharpe, math.floor(n - 1e-6), skew, 3 + skew**2, benchmark) if n >= 3 else 0.0
        above = probabilistic_sharpe(sharpe, math.ceil(n + 1e-6), skew, 3 + skew**2, benchmark)
        assert below <= confidence + 1e-9 and above >= confidence - 1e-9
        # Another package rounds up to whole returns.
        theirs = min_track_record_length(sharpe, benchmark, 1 - confidence, skew, 3 + skew**2)
        assert confidence == 0.5 or theirs == pytest.approx(n, abs=1.0 + 1e-6 * n)


@given(st.integers(2, 100_000), st.floats(0.1, 5))
def test_the_minimum_backtest_length_is_another_packages(trials: int, sharpe: float) -> None:
    assert min_backtest_years(trials, sharpe) == pytest.approx(minimum_backtest_length(trials, sharpe), rel=1e-12)


@given(st.integers(0, 2**32), st.integers(2, 500), st.floats(0.001, 0.2))
def test_the_deflated_sharpe_ratio_is_another_packages(seed: int, trials: int, std: float) -> None:
    returns = np.random.default_rng(seed).standard_t(4, 300) * 0.02
    evidence = deflated(returns, Tried(trials, float(trials), 365 * max(std**2, 1.01 / 299)))
    theirs = deflated_sharpe_ratio_full(returns, trials, (evidence.trial_std / 365**0.5) ** 2)
    # Its ratio divides by n, ours by n - 1, and its skew and kurtosis are corrected for the size of the sample.
    assert evidence.sr0 == pytest.approx(theirs.sr_star * 365**0.5, rel=1e-12)
    found = probabilistic_sharpe(theirs.observed_sr, 300, theirs.skew, theirs.kurt, theirs.sr_star)
    assert found == pytest.approx(theirs.dsr, rel=1e-9)
    assert evidence.dsr == pytest.approx(theirs.dsr, abs=0.01)


@given(st.floats(1, 1e6), st.floats(1, 1e6))
def test_more_trials_need_more_luck(one: float, other: float) -> None:
    few, many = sorted((one, other))
    assert 0 <= expected_max(few) <= expected_max(many)
    assert expected_max(1) == 0


def test_of_searches_over_noise_most_look_good_all_pass_the_probabilistic_ratio_and_none_the_deflated_one() -> None:
    looked, probable, proven = [], [], []
    rng = np.random.default_rng(11)
    for _ in range(300):
        returns = rng.normal(0, 0.02, (730, 100))
        sharpes = returns.mean(axis=0) / returns.std(axis=0, ddof=1) * 365**0.5
        evidence = deflated(returns[:, sharpes.argmax()], sharpes)
        looked.append(evidence.sharpe > 1.5)  # type: ignore[operator]
        probable.append(evidence.psr >= 0.95)  # type: ignore[operator]
        proven.append(evidence.passes)
    # As measured before, over as many searches of 2 years and 100 tries: 83 %, 100 %, 0 %.
    assert np.mean(looked) == pytest.approx(0.83, abs=0.05)
    assert np.mean(probable) > 0.98 and sum(proven) <= 1


def test_the_power_said_is_the_share_that_passes() -> None:
    rng, passed, said = np.random.default_rng(2), [], []
    for _ in range(200):
        rivals = rng.normal(0, 1, 100) * (365 / 730) ** 0.5
        returns = rng.normal(3.0 / 365**0.5 * 0.02, 0.02, 730)
        evidence = deflated(returns, np.append(rivals, sharpe_ratio(returns) * 365**0.5))  # type: ignore[operator]
        passed.append(evidence.passes)
        said.append(evidence.power)
    assert np.mean(passed) == pytest.approx(np.mean(said), abs=0.08)
    assert 0.3 < np.mean(said) < 0.7


def test_a_strategy_with_skill_is_evidence_and_says_so() -> None:
    returns = np.random.default_rng(3).normal(0.004, 0.02, 730)
    evidence = deflated(returns, Tried(214, 30.0, 0.5))
    assert evidence.passes and evidence.min_trl is not None and evidence.min_trl < 730
    assert evidence.sentence.startswith("With 214 trials (as 30 independent ones), luck alone would show")
    assert evidence.sentence.endswith(": evidence.") and evidence.detectable is not None and evidence.detectable < 4


@pytest.mark.parametrize(
    ("mean", "tried", "says"),
    [
        (0.0012, Tried(214, 214.0, 1.0), "what luck alone would show"),
        (0.0012, Tried(2, 2.0, None), "too little for so short a record"),
        (-0.0012, Tried(1, 1.0, None), "With 1 trial, the Sharpe ratio is -"),
    ],
)
def test_the_sentence_names_what_is_missing(mean: float, tried: Tried, says: str) -> None:
    returns = np.random.default_rng(4).normal(0, 0.02, 365)
    evidence = deflated(returns - returns.mean() + mean, tried)
    assert says in evidence.sentence and evidence.sentence.endswith("not evidence.") and not evidence.passes


def test_one_trial_is_deflated_by_nothing() -> None:
    returns = np.random.default_rng(5).normal(0.001, 0.02, 365)
    evidence = deflated(returns, Tried(1, 1.0, None))
    assert evidence.sr0 == 0 and evidence.dsr == evidence.psr


def test_ratios_that_scatter_normally_have_their_variance_and_outliers_do_not_change_it() -> None:
    sharpes = np.random.default_rng(8).normal(0.5, 1.3, 4000)
    plain = Tried.independent(sharpes).variance
    assert plain == pytest.approx(1.3**2, rel=0.06)
    ruined = np.append(sharpes, np.linspace(-40, -10, 40))
    assert Tried.independent(ruined).variance == pytest.approx(plain, rel=0.05)
    assert ruined.var() > 3 * plain  # type: ignore[operator]
    assert Tried.independent([0.7]).variance is None and Tried.independent([0.7, 0.7]).variance == 0


def test_alike_trials_are_deflated_as_the_independent_ones_that_they_amount_to() -> None:
    returns = np.random.default_rng(6).normal(0.001, 0.02, 366)
    alike, few = deflated(returns, Tried(200, 10.0, 2.0)), deflated(returns, Tried(10, 10.0, 2.0))
    assert (alike.sr0, alike.dsr, alike.min_btl_years) == (few.sr0, few.dsr, few.min_btl_years)
    assert alike.n_trials == 200 and few.dsr > deflated(returns, Tried(200, 200.0, 2.0)).dsr  # type: ignore[operator]


def test_alike_trials_are_not_taken_for_less_luck_than_there_is() -> None:
    returns = np.random.default_rng(6).normal(0.001, 0.02, 366)
    assert deflated(returns, np.full(50, 1.3)).sr0 == pytest.approx(expected_max(50), rel=1e-12)


@pytest.mark.parametrize("returns", [np.zeros(100), np.full(100, 0.01), [0.1, -0.1, 0.2], []])
def test_returns_that_tell_nothing_have_no_ratio_and_do_not_pass(returns: object) -> None:
    evidence = deflated(returns, [1.0, 2.0])  # type: ignore[arg-type]
    assert evidence.sharpe is None and evidence.dsr is None and not evidence.passes
    assert evidence.sentence.startswith("No Sharpe ratio to judge")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: deflated([[0.1] * 20], [1.0]),
        lambda: deflated([math.nan] * 20, [1.0]),
        lambda: deflated([0.1] * 20, []),
        lambda: deflated([0.1] * 20, [math.inf]),
        lambda: expected_max(0.5),
        lambda: expected_max_sharpe(5, -1.0),
        lambda: probabilistic_sharpe(0.1, 1),
        lambda: probabilistic_sharpe(2.0, 10, 3.0, 1.0),
        lambda: min_track_record(0.1, confidence=1.0),
        lambda: min_backtest_years(5, 0.0),
        lambda: Tried(0, 1.0, None),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError):
        wrong()  # type: ignore[operator]


def line(kind: str, buy: float, sets: int = 1, **more: object) -> Trial:
    return Trial(kind, "c", "d", "1", 0, {"buy": buy}, sets, "sharpe", 1.0, "2024-01-01", **more)  # type: ignore[arg-type]


def test_the_ledger_counts_what_was_traded_and_knows_how_the_ratios_scatter(tmp_path: Path) -> None:
    ledger = TrialLedger(tmp_path / "trials.jsonl")
    assert ledger.tried() == Tried(1, 1.0, None)
    ledger.append([line("fit", 0.0), line("fold", 0.0), line("simulate", 0.1), line("simulate", 0.1)])
    assert ledger.tried() == Tried(1, 1.0, None)
    ledger.append([line("grid", 0.2, 400, sharpes=[-9.0, 1.0, 2.0], effective=12.5)])
    ledger.append([line("simulate", 0.2, sharpes=[2.0], effective=0.0), line("search", 0.3)])
    tried = ledger.tried()
    assert (tried.count, tried.effective) == (403, 14.5)
    # Three of the ratios stand for 400 sets: the median is 1, a sixth are above it at 2; the worst does not matter.
    assert tried.variance == pytest.approx(1.0, abs=0.02)
    returns = np.random.default_rng(1).normal(0.001, 0.02, 365)
    assert deflated(returns, ledger) == deflated(returns, tried)


def test_lines_written_before_ratios_were_kept_still_count(tmp_path: Path) -> None:
    from pipeline.evaluation.hash_chain import START, _sealed

    old = {
        key: value
        for key, value in vars(line("grid", 0.1, 10)).items()
        if key not in ("sharpes", "effective")
    }  # fmt: skip
    path = tmp_path / "trials.jsonl"
    path.write_text(json.dumps(_sealed(old, START), sort_keys=True, separators=(",", ":")) + "\n")
    assert TrialLedger(path).tried() == Tried(10, 10.0, None)
