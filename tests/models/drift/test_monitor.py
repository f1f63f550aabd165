"""The drift monitor: silent on a stationary market, however persistent its features; loud when it changes."""

import json
from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import kstwo, norm

from pipeline.config.drift import Drift
from pipeline.errors import BadInput
from pipeline.models.drift.distribution import UNKNOWN, Distributions, learn
from pipeline.models.drift.monitor import ALL, DriftMonitor
from pipeline.models.drift.reference import feature_reference, gap_reference, score_reference, training_windows

# Half-hours, four months to train on, and outcomes that are known after six hours.
DAY, TRAIN_DAYS, TAKES = 48, 120, 12
WINDOW = 7 * DAY
PERSISTENCE = np.tile([0.0, 0.9, 0.98, 0.99, 0.995, 0.998], 10)


class Market:
    """Stationary features [n, 60], a score, and outcomes that overlap; the first part is for training."""

    def __init__(self, seed: int, days: int = TRAIN_DAYS + 60) -> None:
        rng = np.random.default_rng(seed)
        n = days * DAY
        noise = rng.standard_normal((n + 2000, 60))
        columns = [lfilter([np.sqrt(1 - a * a)], [1, -a], noise[:, j])[2000:] for j, a in enumerate(PERSISTENCE)]
        self.features = np.column_stack(columns).astype(np.float32)
        # Features are related, as a market's are.
        self.features[:, 1::2] = 0.7 * self.features[:, 1::2] + 0.7 * self.features[:, ::2]
        self.score = 1 / (1 + np.exp(1.5 - 0.5 * self.features[:, 2].astype(np.float64)))
        # The same luck decides all outcomes of the next six hours.
        luck = lfilter(np.ones(TAKES) / np.sqrt(TAKES), 1, rng.standard_normal(n + TAKES))[TAKES:]
        self.outcome = (norm.cdf(luck) < self.score).astype(np.float64)

    @property
    def train(self) -> int:
        return TRAIN_DAYS * DAY

    def reference(self) -> dict[str, Any]:
        rows = np.arange(self.train)
        windows = training_windows(rows, rows * 1_800_000, np.zeros(len(rows), np.int64), 1_800_000, WINDOW)
        late = slice(int(self.train * 0.8), self.train)
        kept = feature_reference(self.features, [f"x{j}" for j in range(60)], windows)
        model = {
            "score": score_reference(self.score[windows.rows], windows, self.score[late]),
            "gap": gap_reference(self.score[late], self.outcome[late], TAKES),
            "bounded": True,
        }
        return json.loads(json.dumps(kept | {"models": {"up": model}}))


def looks(market: Market, monitor: DriftMonitor, start: int | None = None) -> list[str | None]:
    """The alarm after each day."""
    found = []
    for t in range(start or market.train, len(market.score)):
        monitor.update(market.features[t], {"up": float(market.score[t])})
        done = t - TAKES
        if done >= (start or market.train):
            monitor.learn("up", float(market.score[done]), float(market.outcome[done]))
        if (t + 1) % DAY == 0 and monitor.full:
            found.append(monitor.alarm())
    return found


def test_false_alarms_are_as_rare_as_the_level_says() -> None:
    # 16 stationary markets of 60 related features, a model each, looked at daily for 54 days. With the textbook's
    # p-values at the same level nearly every day is an alarm.
    alarms, days, textbook = 0, 0, 0
    for seed in range(16):
        market = Market(seed)
        reference = market.reference()
        monitor = DriftMonitor(reference, Drift())
        found = looks(market, monitor)
        alarms, days = alarms + sum(one is not None for one in found), days + len(found)
        lines = [line for line in monitor.findings() if line.test == "distribution"]
        textbook += any(kstwo.sf(line.distance, WINDOW) < Drift().level / 60 for line in lines)
    assert days == 16 * 54
    # 0.6 % of the looks on sixty other markets; here two standard errors above, with a week's looks taken as one.
    assert alarms / days < 0.005 + 2 * np.sqrt(0.005 / (days / 7))
    assert textbook == 16


@pytest.mark.parametrize("seed", range(3))
def test_one_quick_feature_that_moves_is_named(seed: int) -> None:
    market = Market(seed, TRAIN_DAYS + 10)
    market.features[market.train :, 6] += 1.5
    assert "x6 has moved" in str(looks(market, DriftMonitor(market.reference(), Drift()))[-1])


@pytest.mark.parametrize("seed", range(3))
def test_many_slow_features_that_move_a_little_are_seen_together(seed: int) -> None:
    market = Market(seed, TRAIN_DAYS + 10)
    market.features[market.train :] += 1.5
    market.features[market.train :, ::6] -= 1.5
    market.features[market.train :, 1::6] -= 1.5
    alarm = looks(market, DriftMonitor(market.reference(), Drift()))[-1]
    assert alarm is not None and alarm.startswith(ALL)


def test_outcomes_that_stop_to_come_true_are_a_calibration_alarm_and_a_loss_that_rises() -> None:
    market = Market(5, TRAIN_DAYS + 60)
    reference = market.reference()
    after = market.train
    for other in (6, 7, 8):
        market.outcome[after:] = np.maximum(market.outcome[after:], Market(other, TRAIN_DAYS + 60).outcome[after:])
    monitor = DriftMonitor(reference, Drift())
    looks(market, monitor)
    found = {(line.what, line.test): line.alarm for line in monitor.findings()}
    assert found["outcome − score up", "calibration"]
    market, seen = Market(5, TRAIN_DAYS + 60), set()
    monitor = DriftMonitor(reference, Drift())
    for t in range(after, after + 50 * DAY):
        monitor.update(market.features[t], {"up": float(market.score[t])})
        # As ever for twenty days, and then always true.
        monitor.learn("up", float(market.score[t]), float(market.outcome[t]) if t < after + 20 * DAY else 1.0)
        found = {line.test for line in monitor.findings() if line.what == "loss up" and line.alarm}
        assert not found or t > after + 20 * DAY
        seen |= found
    assert seen == {"ADWIN", "Page-Hinkley"}


def test_a_loss_that_falls_is_no_alarm() -> None:
    market = Market(7, TRAIN_DAYS + 20)
    monitor = DriftMonitor(market.reference(), Drift())
    for t in range(market.train, len(market.score)):
        monitor.learn("up", float(market.score[t]), float(market.outcome[t] if t % 2 == 0 else market.score[t]))
    assert not any(line.alarm for line in monitor.findings() if line.what == "loss up")


@pytest.mark.parametrize("cut", [1, 100, 400, 500])
def test_a_monitor_goes_on_from_its_saved_state(cut: int) -> None:
    market = Market(8, TRAIN_DAYS + 14)
    market.features[market.train :, 6] += 1.5
    reference = market.reference()
    whole, part = DriftMonitor(reference, Drift()), DriftMonitor(reference, Drift())
    for t in range(market.train, len(market.score)):
        if t == market.train + cut:
            kept = json.loads(json.dumps(part.save(), allow_nan=False))
            part = DriftMonitor(reference, Drift())
            part.restore(kept)
        for monitor in (whole, part):
            monitor.update(market.features[t], {"up": float(market.score[t])})
            monitor.learn("up", float(market.score[t]), float(market.outcome[t]))
        assert part.alarm() == whole.alarm()
    assert part.save() == whole.save() and whole.alarm() is not None


def test_a_state_of_another_bundle_and_a_damaged_reference_are_refused() -> None:
    reference = Market(9, TRAIN_DAYS + 1).reference()
    kept = DriftMonitor(reference, Drift()).save()
    other = json.loads(json.dumps(reference))
    del other["features"]["x3"]
    with pytest.raises(BadInput, match="another bundle"):
        DriftMonitor(other, Drift()).restore(kept)
    del reference["features"]["x3"]["shares"]
    with pytest.raises(BadInput, match="drift reference is damaged"):
        DriftMonitor(reference, Drift())


def test_unknown_values_are_left_out_and_short_ranges_are_not_judged() -> None:
    market = Market(10, TRAIN_DAYS + 10)
    market.features[market.train :, 0] = np.nan
    monitor = DriftMonitor(market.reference(), Drift())
    looks(market, monitor)
    names = {line.what for line in monitor.findings()}
    assert "x0" not in names and "x1" in names
    short = DriftMonitor(market.reference(), Drift())
    short.update(market.features[market.train], {})
    assert not short.full and {line.test for line in short.findings()} == {"ADWIN", "Page-Hinkley", "calibration"}


def test_a_columns_steps_and_cells_are_counted_as_they_are() -> None:
    hours = np.tile(np.arange(24.0), 50)
    windows = [slice(a, a + 240) for a in range(0, 1200, 240)]
    # Beside a column of more steps, and one that never changes.
    rng = np.random.default_rng(0)
    columns = [hours, rng.normal(size=1200), np.full(1200, 3.0)]
    table = Distributions([learn(column, windows)[0] for column in columns])
    cells = np.array([table.cells(row) for row in np.column_stack(columns)], np.uint8)
    known, distance, stability = table.compare(cells)
    assert np.array_equal(known, [1200] * 3) and np.allclose(distance, 0) and np.allclose(stability, 0)
    cells[700:, 1] = UNKNOWN
    known, distance, stability = table.compare(cells[hours < 6])
    assert known.tolist() == [300, int(np.sum(cells[hours < 6, 1] != UNKNOWN)), 300]
    assert distance[0] == pytest.approx(0.75) and stability[0] > 1 and distance[2] == stability[2] == 0


def test_distance_and_stability_of_many_columns_are_those_of_each_by_hand() -> None:
    rng = np.random.default_rng(1)
    train = np.column_stack([rng.normal(size=2000), rng.integers(0, 4, 2000), rng.exponential(size=2000)])
    new = np.column_stack([rng.normal(0.5, 1, 500), rng.integers(0, 3, 500), rng.exponential(2, size=500)])
    made = [learn(column, [slice(0, 1000), slice(1000, 2000)])[0] for column in train.T]
    table = Distributions(made)
    _, distance, stability = table.compare(np.array([table.cells(row) for row in new], np.uint8))
    for k, one in enumerate(made):
        actual = np.array([np.mean(new[:, k] <= edge) for edge in one.edges])
        assert distance[k] == pytest.approx(np.abs(actual - one.shares).max())
        cuts = slice(4, None, 5) if len(one.edges) > 5 else slice(None)
        bins = [np.diff(values[cuts], prepend=0, append=1) for values in (one.shares, actual)]
        expected, found = (np.maximum(values, 1e-4) for values in bins)
        assert stability[k] == pytest.approx(np.sum((found - expected) * np.log(found / expected)))


def test_windows_are_of_one_symbol_and_at_least_half_full() -> None:
    times = np.concatenate([np.arange(100), np.arange(40, 100)]) * 1000
    times = np.delete(times, slice(12, 28))
    symbols = np.concatenate([np.zeros(84, np.int64), np.ones(60, np.int64)])
    windows = training_windows(np.arange(144), times, symbols, 1000, 20)
    inside = [(symbols[windows.rows[one]].tolist(), times[windows.rows[one]].tolist()) for one in windows.slices]
    assert all(len(set(own)) == 1 and len(when) >= 10 and when[-1] - when[0] < 20_000 for own, when in inside)
    assert len(inside) == 5 + 3
    assert training_windows(np.arange(10), np.arange(10) * 1000, np.zeros(10, int), 1000, 20).window_bars == 2
