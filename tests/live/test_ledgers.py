"""The tables of live trading: made of the journal alone, piece by piece or at once."""

import itertools
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.live import ledgers
from pipeline.live.journal import SqliteJournal, create
from pipeline.live.journal_chain import JournalDamaged, encode
from pipeline.live.ledgers import update

START = 1_704_067_200_000
HOUR = 3_600_000
TRADE = {
    "symbol": "BTCUSDT", "side": "long", "entry_time": START, "entry_price": 100.0, "exit_time": START + HOUR,
    "exit_price": 101.0, "qty": 1.0, "fees": 0.2, "pnl": 0.8, "return": 0.008, "exit_reason": "signal", "bars_held": 1,
    "mae": -0.001, "mfe": 0.02,
}  # fmt: skip


def start(mode: str = "shadow") -> tuple[str, dict[str, Any]]:
    return "START", {"mode": mode, "bundle": "b1", "interval": "1h", "origin": START, "capital": 1000.0, "at": START}


def bar(n: int, **changes: Any) -> tuple[str, dict[str, Any]]:
    seen = {"score": 0.25, "close": 100.0, "signal": 1, "gate": "", "order": 1, "exit": "", "filled": False}
    other = {"score": None, "close": 7.0, "signal": 2, "gate": "wide_spread", "order": 0, "exit": "signal",
             "filled": True}  # fmt: skip
    body: dict[str, Any] = {
        "t": START + n * HOUR, "n": n, "at": START + (n + 1) * HOUR + 250, "bundle": "b1", "equity": 1000.0 + n,
        "cash": 900.0, "late": False, "s": {"ETHUSDT": other, "BTCUSDT": seen},
    }  # fmt: skip
    return "BAR", body | changes


def journal(path: Path, *records: tuple[str, dict[str, Any]]) -> SqliteJournal:
    create(path, [(kind, encode(kind, body)) for kind, body in records])
    return SqliteJournal(path)


def tables(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return tuple(pq.read_table(folder / f"{name}.parquet").to_pylist() for name in ("decisions", "trades"))  # type: ignore[return-value]


def test_a_bar_is_a_row_for_each_symbol_with_what_was_seen_and_ordered(tmp_path: Path) -> None:
    with journal(tmp_path / "j", start(), bar(0)) as kept:
        assert update(kept, tmp_path) == ledgers.Written(2, 0, 2, 2)
    (bitcoin, ether), _ = tables(tmp_path)
    assert list(bitcoin) == ledgers.DECISIONS.names
    assert (bitcoin["symbol"], bitcoin["score"], bitcoin["order"], bitcoin["buy_signal"]) == (
        "BTCUSDT", 0.25, "long", True,
    )  # fmt: skip
    assert (ether["symbol"], ether["gate"], ether["exit"], ether["sell_signal"], ether["is_filled"]) == (
        "ETHUSDT", "wide_spread", "signal", True, True,
    )  # fmt: skip
    assert ether["score"] != ether["score"]
    assert (bitcoin["mode"], bitcoin["bundle"], bitcoin["latency_ms"]) == ("shadow", "b1", 250.0)


def test_the_exchanges_word_for_the_age_of_a_bar_comes_before_our_clock(tmp_path: Path) -> None:
    with journal(tmp_path / "j", start(), bar(0, age_ms=12.5)) as kept:
        update(kept, tmp_path)
    assert tables(tmp_path)[0][0]["latency_ms"] == 12.5


def test_a_bar_whose_age_nobody_could_tell_has_none(tmp_path: Path) -> None:
    with journal(tmp_path / "j", start(), bar(0, age_ms=None)) as kept:
        update(kept, tmp_path)
    assert math.isnan(tables(tmp_path)[0][0]["latency_ms"])


def test_trades_come_from_bars_in_shadow_and_from_their_own_records_live(tmp_path: Path) -> None:
    live = TRADE | {"exit_price": 99.0, "orders": ["a", "b"], "number": 3}
    with journal(tmp_path / "j", start(), bar(0, trades=[TRADE]), start("live"), bar(1), ("TRADE", live)) as kept:
        update(kept, tmp_path)
    _, trades = tables(tmp_path)
    assert [(one["mode"], one["exit_price"]) for one in trades] == [("shadow", 101.0), ("live", 99.0)]
    assert list(trades[0]) == [*TRADE, "mode"]


@pytest.mark.parametrize("cuts", list(itertools.combinations(range(1, 6), 2)))
def test_piece_by_piece_it_is_the_same_as_at_once(tmp_path: Path, cuts: tuple[int, int]) -> None:
    records = [start(), bar(0), bar(1, trades=[TRADE]), start("live"), bar(2), bar(3, trades=[TRADE, TRADE])]
    with journal(tmp_path / "whole", *records) as kept:
        update(kept, tmp_path / "a")
    with journal(tmp_path / "parts") as kept:
        for number, (kind, body) in enumerate(records):
            if number in cuts:
                update(kept, tmp_path / "b")
            kept.append(kind, body)
        update(kept, tmp_path / "b")
    same = [one.read_bytes() for one in (tmp_path / "a" / "decisions.parquet", tmp_path / "b" / "decisions.parquet")]
    assert same[0] == same[1]
    assert str(tables(tmp_path / "a")) == str(tables(tmp_path / "b"))


def test_only_what_came_after_is_read(tmp_path: Path) -> None:
    with journal(tmp_path / "j", start(), bar(0)) as kept:
        update(kept, tmp_path)
        kept.append(*bar(1))
        asked: list[int] = []

        class Watched:
            def rows(self, after: int = 0) -> Any:
                asked.append(after)
                return kept.rows(after)

        assert update(Watched(), tmp_path).added == 2
        assert asked == [1, 2]
        assert update(kept, tmp_path).added == 0


def test_another_journal_or_a_lost_file_means_from_the_start(tmp_path: Path) -> None:
    with journal(tmp_path / "one", start(), bar(0), bar(1)) as kept:
        update(kept, tmp_path)
        (tmp_path / "trades.parquet").unlink()
        assert update(kept, tmp_path).added == 4
    with journal(tmp_path / "other", start("live"), bar(0), bar(1, equity=1.0)) as kept:
        assert update(kept, tmp_path) == ledgers.Written(4, 0, 3, 4)
    with journal(tmp_path / "short", start(), bar(0)) as kept:
        assert update(kept, tmp_path) == ledgers.Written(2, 0, 2, 2)


def test_row_groups_grow_together_and_stay_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "_GROUP", 8)
    with journal(tmp_path / "j", start()) as kept:
        for n in range(11):
            kept.append(*bar(n))
            update(kept, tmp_path)
    groups = pq.ParquetFile(tmp_path / "decisions.parquet").metadata
    assert [groups.row_group(k).num_rows for k in range(groups.num_row_groups)] == [8, 8, 6]
    opened = [row["open_time"] for row in tables(tmp_path)[0]]
    assert opened == sorted(opened) and len(opened) == 22


def test_a_damaged_journal_leaves_the_files_as_they_were(tmp_path: Path) -> None:
    import sqlite3

    with journal(tmp_path / "j", start(), bar(0)) as kept:
        update(kept, tmp_path)
        kept.append(*bar(1))
    before = (tmp_path / "decisions.parquet").read_bytes()
    with sqlite3.connect(tmp_path / "j") as raw:
        raw.execute("DROP TRIGGER no_update")
        raw.execute("UPDATE records SET body = replace(body, '1001.0', '9001.0') WHERE number = 3")
    from pipeline.live.journal import SqliteReader

    with SqliteReader(tmp_path / "j") as reader, pytest.raises(JournalDamaged, match="record 3"):
        update(reader, tmp_path)
    assert (tmp_path / "decisions.parquet").read_bytes() == before
    assert not list(tmp_path.glob(".*.tmp"))
