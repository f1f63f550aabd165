"""The ledger of promotions: which bundle went which step, when, by whom, and on which evidence."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import BadInput
from pipeline.evaluation.hash_chain import HashChain

PROMOTE, RETRAIN, ROLLBACK = "promote", "retrain", "rollback"
# Judged as if it were another day: remembered, and grants nothing.
AS_OF = "as of"
LIVE, CANDIDATE, RETIRED = "live", "candidate", "retired"
_RANK = {"shadow": 1, "testnet": 2, LIVE: 3}


@dataclass(frozen=True)
class Entry:
    """One line.

    action: promote, retrain, rollback or as of. bundle: whose. stage: it has after that. current: bundle that `current`
    names after that. previous: bundle that it named until then. at: clock, ISO 8601. until: end of the bundle's data.
    who: account on the machine. evidence: SHA-256 of what was looked at. checks: as shown.
    """

    action: str
    bundle: str
    stage: str
    current: str | None
    previous: str | None
    at: str
    until: str
    who: str
    evidence: Mapping[str, str] = field(default_factory=dict)
    checks: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Standing:
    """What the entries amount to.

    stages: of each bundle. current: what `current` has to name. champions: live bundles that may be gone back to, the
    last one in force. currents: bundles that were current, the last one now; none twice.
    """

    stages: Mapping[str, str]
    current: str | None
    champions: Sequence[str]
    currents: Sequence[str]

    @property
    def champion(self) -> str | None:
        """The bundle that trades with real money."""
        return self.champions[-1] if self.champions else None

    @property
    def kept(self) -> set[str]:
        """Bundles that must not be pruned: those on their way, the champion, and what a rollback goes to."""
        on_way = {name for name, stage in self.stages.items() if stage in ("shadow", "testnet", LIVE)}
        return on_way | set(self.champions[-2:])

    def gives_way(self, bundle: str, stage: str) -> bool:
        """Whether `current` comes to name a bundle that has a stage: what sends orders yields only to what may."""
        held = self.stage(self.current or "")
        return bundle == self.current or _RANK.get(held, 0) < _RANK["testnet"] or _RANK.get(stage, 0) >= _RANK[held]

    def stage(self, bundle: str) -> str:
        """Of a bundle; one that is not known is a candidate."""
        return self.stages.get(bundle, CANDIDATE)


class Promotions:
    """The ledger at a path, which need not exist yet."""

    def __init__(self, path: Path) -> None:
        self._chain = HashChain(path, "restore it from a backup; without it no bundle may trade with real money")

    def append(self, entry: Entry) -> None:
        """Add a line, on the disk when this returns. Raises BadInput: the ledger is damaged."""
        self._chain.append([asdict(entry)])

    def read(self) -> list[Entry]:
        """All lines, oldest first. Raises BadInput: one was altered, removed or damaged (names it)."""
        try:
            return [Entry(**{**line, "checks": tuple(line["checks"])}) for line in self._chain.read()]
        except (KeyError, TypeError) as error:
            raise BadInput(f"{self._chain.path}: a line is not of this ledger: {error}") from None

    def standing(self) -> Standing:
        """What the lines amount to. Raises BadInput: the ledger is damaged."""
        return standing(self.read())


def standing(entries: Iterable[Entry]) -> Standing:
    """What entries amount to, oldest first."""
    stages: dict[str, str] = {}
    champions: list[str] = []
    currents: list[str] = []
    current = None
    for entry in entries:
        if entry.action == AS_OF:
            continue
        if entry.action == ROLLBACK:
            # What was left is not gone back to by the next rollback.
            champions = _until(champions, entry.bundle)
            currents = _until(currents, entry.bundle)
            if entry.previous and entry.previous != entry.bundle:
                stages[entry.previous] = RETIRED
        elif entry.stage == LIVE:
            if champions and champions[-1] != entry.bundle:
                stages[champions[-1]] = RETIRED
            champions = [*(name for name in champions if name != entry.bundle), entry.bundle]
        stages[entry.bundle] = entry.stage
        current = entry.current
        if current:
            currents = [*(name for name in currents if name != current), current]
    return Standing(stages, current, champions, currents)


def _until(names: Sequence[str], bundle: str) -> list[str]:
    return list(names[: names.index(bundle) + 1]) if bundle in names else list(names)
