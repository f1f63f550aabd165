"""The command line without a process of its own, which would import for a second what is imported here already."""

import contextlib
import io
import subprocess
import sys
from unittest.mock import patch


def pipeline(*arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """What `pipeline` with these arguments says, and its exit code; `typed` is its standard input."""
    from pipeline.cli import main

    said, complained, code = io.StringIO(), io.StringIO(), 0
    with (
        patch.object(sys, "argv", ["pipeline", *arguments]),
        patch.object(sys, "stdin", io.StringIO(typed)),
        # What `serve` does to its process would stay with the tests that follow.
        patch("pipeline.lean.keep_small"),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(complained),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    return subprocess.CompletedProcess(sys.argv, code, said.getvalue(), complained.getvalue())
