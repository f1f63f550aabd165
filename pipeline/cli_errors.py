"""An error as a person is told of it: what was wrong, what to do, and the exit code."""

import sys

from pipeline.errors import PipelineError


def report(error: Exception) -> int:
    """Print an error, also as JSON if that was asked for; its exit code. What is a mistake of ours is raised again."""
    if isinstance(error, PipelineError):
        message, hint, code = error.message, error.hint, error.exit_code
    elif hasattr(error, "format_message"):  # typer's own complaint about the command line
        usage = getattr(error, "ctx", None)
        hint = f"see `{usage.command_path} --help`" if usage else ""
        message, code = error.format_message().replace("Value error, ", ""), 2
    elif isinstance(error, OSError) and error.strerror:  # full disk, no permission: not a bug of ours
        where = f"{error.filename}: " if error.filename else ""
        message, hint, code = f"{where}{error.strerror}", "files that were there before are intact", 2
    else:
        raise error
    if "--json" in sys.argv[1:]:
        import json

        print(json.dumps({"error": message, "hint": hint, "exit_code": code}))
    print(f"error: {message}" + (f"\n       {hint}" if hint else ""), file=sys.stderr)
    return code
