"""What `pipeline serve` was asked for, and where that leaves its files."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts import Layout
from pipeline.config import Config, utc_ms
from pipeline.errors import BadInput

# What the journal of a rehearsal names as its exchange, and its folder.
REHEARSAL = "rehearsal"


def folder_of(layout: Layout, exchange: str) -> Path:
    """Where a run at an exchange leaves its files: a rehearsal's are not mixed with those of the real market."""
    return layout.run / "serve" / REHEARSAL if exchange == REHEARSAL else layout.run / "serve"


@dataclass(frozen=True)
class Wish:
    """What was asked for on the command line.

    live: real orders. once: the bars that have closed, then the end. bars: decided bars, then the end. yes: no
    question. uncertified: a bundle without certificate will do. store: journal in place of the config's. rehearse:
    first time and end of a local exchange's market, in place of the config's exchange. speed: its market time over
    real time; 0 waits for each decision. resume: go on with the last rehearsal's journal. options:
    of the command line, for advice that can be copied.
    """

    live: bool = False
    once: bool = False
    bars: int | None = None
    yes: bool = False
    uncertified: bool = False
    store: str | None = None
    rehearse: tuple[str, str] | None = None
    speed: float = 0.0
    resume: bool = False
    options: str = ""

    @property
    def mode(self) -> str:
        return "live" if self.live else "shadow"

    def span(self) -> tuple[int, int] | None:
        """First time and end of the rehearsal; None if it is none. Raises BadInput: no times, or in the wrong order."""
        if self.rehearse is None:
            return None
        times = []
        for text in self.rehearse:
            try:
                times.append(utc_ms(text))
            except ValueError:
                raise BadInput(f"--rehearse: '{text}' is not a time", "write 2024-01-31 or 2024-01-31T12:00") from None
        if times[0] >= times[1]:
            raise BadInput(
                f"--rehearse: {self.rehearse[1]} is not after {self.rehearse[0]}", "the first is where it begins"
            )
        return times[0], times[1]

    def folder(self, layout: Layout) -> Path:
        """Where journal, log and tables go."""
        return folder_of(layout, REHEARSAL if self.rehearse else "")

    def journal(self, config: Config, layout: Layout) -> "str | Path":
        """The journal's file, or its database."""
        return self.store or (None if self.rehearse else config.serve.store) or self.folder(layout) / "journal.sqlite"
