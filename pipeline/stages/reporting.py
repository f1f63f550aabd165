"""What a stage says: its plan before, progress during, a summary after."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.artifacts import write_text


@dataclass
class Plan:
    """What a stage would read and write; printed by `--dry-run`.

    rows: input rows, if they are known without computing. columns: output columns besides open_time.
    """

    stage: str
    inputs: list[Path] = field(default_factory=list)
    outputs: list[Path] = field(default_factory=list)
    rows: int | None = None
    columns: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        lines = [f"{self.stage}: plan (nothing is written)"]
        lines += [f"  reads   {path}" for path in self.inputs]
        lines += [f"  writes  {path}" for path in self.outputs]
        if self.rows is not None:
            lines.append(f"  rows    {self.rows:,}")
        if self.columns:
            lines.append(f"  columns {len(self.columns)}: {', '.join(self.columns)}")
        return "\n".join(lines + [f"  note    {note}" for note in self.notes])

    def json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "dry_run": True,
            "inputs": [str(path) for path in self.inputs],
            "outputs": [str(path) for path in self.outputs],
            "rows": self.rows,
            "columns": self.columns,
            "notes": self.notes,
        }


@dataclass
class Summary:
    """What came out, where it is, what is next.

    figures: label → value, in the order to print; values JSON can hold.
    """

    stage: str
    outputs: list[Path] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    next: str = ""
    seconds: float = 0.0

    def text(self) -> str:
        width = max((len(label) for label in self.figures), default=0)
        lines = [f"{self.stage}: done in {self.seconds:.1f} s"]
        lines += [f"  {label:<{width}}  {_shown(value)}" for label, value in self.figures.items()]
        lines += [f"  warning: {warning}" for warning in self.warnings]
        lines += [f"  wrote {path}" for path in self.outputs[:6]]
        if len(self.outputs) > 6:
            lines.append(f"  wrote … and {len(self.outputs) - 6} more")
        if self.next:
            lines.append(f"  next: {self.next}")
        return "\n".join(lines)

    def json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "seconds": round(self.seconds, 3),
            "outputs": [str(path) for path in self.outputs],
            "figures": self.figures,
            "warnings": self.warnings,
        }


def _shown(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    # From a thousand on four digits would be 1e+04, or hide what an account holds.
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}" if abs(value) >= 1000 else f"{value:,.4g}"


@contextlib.contextmanager
def progress(label: str, total: int | None) -> Iterator[Callable[[int, str], None]]:
    """A bar on a terminal, a line every tenth elsewhere, on standard error in both cases.

    Yields `advance(steps, note)`.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(label, total=total, note="")

            def draw(steps: int = 1, note: str = "") -> None:
                bar.update(task, advance=steps, note=note)

            yield draw
        return
    done = 0
    next_line = 0.1

    def advance(steps: int = 1, note: str = "") -> None:
        nonlocal done, next_line
        done += steps
        if total and total >= 10 and done / total >= next_line:
            print(f"{label}: {done}/{total} {note}".rstrip(), file=sys.stderr, flush=True)
            next_line = done / total + 0.1

    yield advance


def print_json(value: dict[str, Any]) -> None:
    """One machine-readable line on standard output."""
    print(json.dumps(value, default=str, allow_nan=False))


def print_or_write(text: str, path: Path | None) -> None:
    """`text` on standard output, or into the file that was asked for."""
    if path is None:
        print(text, end="")
    else:
        write_text(path, text)
        print(f"wrote {path}")


def yaml_text(value: Mapping[str, Any]) -> str:
    """A mapping as YAML, its keys in their own order."""
    import io

    from ruamel.yaml import YAML

    yaml: Any = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    stream = io.StringIO()
    yaml.dump(dict(value), stream)
    return stream.getvalue()
