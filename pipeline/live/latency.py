"""How long decisions take."""

from dataclasses import dataclass, field


@dataclass
class Latency:
    """Milliseconds of the last decisions, and how many there were."""

    decisions: list[float] = field(default_factory=list)
    count: int = 0

    def add(self, ms: float) -> None:
        self.count += 1
        self.decisions = [*self.decisions[-999:], ms]

    def quantile(self, share: float) -> float | None:
        """Of the last thousand."""
        if not self.decisions:
            return None
        ordered = sorted(self.decisions)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
