"""The figures of results/*.json that have a goal, as one table."""

import json
import sys

from measure import RESULTS

rows = []
for name in sys.argv[1:] or sorted(path.stem for path in RESULTS.glob("*.json")):
    path = RESULTS / f"{name}.json"
    if path.is_file():
        rows += [(name, row) for row in json.loads(path.read_text()) if "goal" in row]
width = max((len(row["name"]) for _, row in rows), default=4)
print(f"{'benchmark':<12} {'what':<{width}} {'ours':>10} {'peer':>10} {'ratio':>8}  goal")
for name, row in rows:
    unit = row.get("unit", "s")
    bound = "≥" if row.get("higher_is_better") else "≤"
    ours, peer = (f"{row[k]:.4g} {unit}" for k in ("ours", "peer"))
    goal = f"{bound} {row['goal']:g} {'met' if row['met'] else 'NOT MET'}"
    print(f"{name:<12} {row['name']:<{width}} {ours:>10} {peer:>10} {row['ratio']:>8.3g}  {goal}")
