"""`pipeline --help` against Python with typer's own import: what the shell of the product costs."""

import subprocess
import sys

from measure import best_of, report

ours = best_of(
    lambda: subprocess.run([sys.executable, "-m", "pipeline.cli", "--help"], capture_output=True, check=True), 10
)
peer = best_of(lambda: subprocess.run([sys.executable, "-c", "import typer"], capture_output=True, check=True), 10)
report("pipeline --help", ours, peer, 2.5, of="python -c 'import typer'")
