"""What is kept for a symbol that is behind."""

import pytest
from live.test_strategy import PLAIN, by_time, tables
from live.test_strategy import config as declared_config

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
    assert len(follower._behind) == (5 if has_reference else 0)
