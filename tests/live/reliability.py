"""Writes the table of faults in docs/reliability.md from measurements: `python tests/live/reliability.py FILE…`.

With --print it goes to the terminal.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from live.cases import CASES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: measured -->", "<!-- end -->"


def table(measured: list[dict[str, object]]) -> str:
    """Rows of the cases, with what was measured of them."""
    seconds: dict[tuple[str, str], list[float]] = {}
    for one in measured:
        for row in one["cases"]:  # type: ignore[attr-defined]
            seconds.setdefault((row["code"], row["case"]), []).extend(row["seconds"])
    lines = [
        "| case | what happens | what is expected | from | held | p50 s | p95 s |",
        "|---|---|---|---|---:|---:|---:|",
    ]
    for case in CASES:
        took = seconds.get((case.code, case.words), [])
        p50, p95 = (f"{np.quantile(took, share):.1f}" if took else "not measured" for share in (0.5, 0.95))
        lines.append(
            f"| {case.code} | {case.words} | {case.expected} | {case.counted} | {len(took)} | {p50} | {p95} |"
        )  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Put the table between its marks."""
    names = [name for name in sys.argv[1:] if name != "--print"]
    measured = [json.loads(Path(name).read_text()) for name in names]
    if "--print" in sys.argv:
        print(table(measured))
        return
    before, rest = PAGE.read_text().split(BEGIN)
    _, after = rest.split(END, 1)
    PAGE.write_text(f"{before}{BEGIN}\n{table(measured)}\n{END}{after}")


if __name__ == "__main__":
    main()
