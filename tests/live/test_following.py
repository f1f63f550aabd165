"""What is kept for a symbol that is behind."""

import pytest
from live.test_strategy import PLAIN, by_time, tables
from live.test_strategy import config as declared_config

from pipeline.errors import ExchangeError
from pipeline.live import following
from pipeline.live.following import Follower
from pipeline.live.gathering import Gathered

BAR = dict.fromkeys(
    ("open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume"),
    10.0,
)


@pytest.mark.parametrize("has_reference", [False, True])
def test_a_symbol_that_is_silent_for_ever_takes_no_room_unless_others_were_known(has_reference: bool) -> None:
    declared = declared_config(PLAIN)
    merged = tables(60)
    follower = Follower(declared, None, merged, next(iter(by_time(declared, merged))))
    one, silent = declared.symbols
    if has_reference:
        follower._references = ["SOLUSDT"]
    for _ in range(5):
        time = follower.last_open_ms + follower.step_ms
        follower.update(Gathered(time, {one: BAR, "SOLUSDT": BAR}, frozenset({silent})))
    assert len(follower._behind.get(silent, {})) == (5 if has_reference else 0)


@pytest.mark.parametrize("silence", [3, 4])
def test_a_symbol_that_was_silent_too_long_comes_back_after_a_new_start(silence: int, monkeypatch) -> None:
    monkeypatch.setattr(following, "MOST_BEHIND", 3)
    declared = declared_config(PLAIN)
    merged = tables(60)
    follower = Follower(declared, None, merged, next(iter(by_time(declared, merged))))
    one, silent = declared.symbols
    follower._references = ["SOLUSDT"]
    times = [follower.last_open_ms + (n + 1) * follower.step_ms for n in range(silence + 1)]
    for time in times[:-1]:
        follower.update(Gathered(time, {one: BAR, "SOLUSDT": BAR}, frozenset({silent})))
    assert len(follower._behind[silent]) == 3
    back = Gathered(
        times[-1], {one: BAR, silent: BAR, "SOLUSDT": BAR}, frozenset(), tuple((silent, t, BAR) for t in times[:-1])
    )
    if silence > 3:
        with pytest.raises(ExchangeError, match="start again"):
            follower.update(back)
    else:
        follower.update(back)
        assert follower._behind[silent] == {}
