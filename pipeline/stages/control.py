"""`pipeline status`, `pause`, `resume`, `flatten` and `reset-breaker`: what is said to a running `serve`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.artifacts import Layout
from pipeline.errors import BadInput, CheckFailed, PipelineError
from pipeline.live import control
from pipeline.live.kill_switch import KillSwitch
from pipeline.live.status import Status
from pipeline.stages.reporting import print_json
from pipeline.stages.runner import Options
from pipeline.stages.status_text import status_text

# Seconds that an answer is waited for. To flatten, orders have to be cancelled and filled.
_PATIENCE, _FLATTEN_PATIENCE = 10.0, 150.0


def control_file(layout: Layout) -> Path:
    """Where `serve` says how it is reached."""
    return layout.run / "serve" / "control.json"


def kill_file(layout: Layout) -> Path:
    """The file that stops trading while it is there."""
    return layout.run / "serve" / "KILL"


def status(options: Options) -> None:
    """Print what a running `serve` says of itself. Raises NotRunning, NoAnswer."""
    answer = _ask(options, "status", {})
    if options.json:
        print_json(answer)
    else:
        print(status_text(Status(**answer)))  # type: ignore[typeddict-item]


def pause(options: Options, reason: str) -> None:
    """Let no more positions be entered. Raises NotRunning, NoAnswer."""
    answer = _ask(options, "pause", {"reason": reason})
    _print(options, answer, "paused: nothing is entered until `pipeline resume`; exits and stops go on")


def resume(options: Options, symbols: list[str]) -> None:
    """End a pause; with symbols, let those that were halted trade again. Raises NotRunning, NoAnswer."""
    answer = _ask(options, "resume", {"symbols": symbols})
    _print(options, answer, f"resumed: {', '.join(symbols) or 'entries are allowed again'}")


def flatten(options: Options, symbols: list[str], confirmed: bool) -> None:
    """Close positions at market and cancel their orders, all or those of the symbols given, and pause.

    Raises BadInput: it was not confirmed. CheckFailed: something is still open. NotRunning, NoAnswer.
    """
    if not confirmed:
        if options.json:
            raise BadInput("flatten --json cannot ask whether it is meant", "add --yes")
        _confirm(options, symbols)
    answer = _ask(options, "flatten", {"symbols": symbols}, _FLATTEN_PATIENCE)
    _print(options, answer, "flat: positions are closed, and nothing is entered until `pipeline resume`")
    if answer.get("flat") is False:
        raise CheckFailed("not everything is closed yet", options.spelled_out("`pipeline status` shows what is open"))


def reset_breaker(options: Options, breakers: list[str]) -> None:
    """Let trading go on after breakers have tripped; all of them if none is named. Raises NotRunning, NoAnswer."""
    answer = _ask(options, "reset-breaker", {"breakers": breakers})
    _print(options, answer, f"reset: {', '.join(breakers) or 'all breakers'}")


def _ask(options: Options, command: str, args: Mapping[str, Any], patience: float = _PATIENCE) -> dict[str, Any]:
    try:
        _, layout = options.load()
        try:
            return control.ask(control_file(layout), command, args, patience)
        except control.NotRunning as error:
            if thrown := KillSwitch(kill_file(layout)).reason():
                error.hint = f"{thrown}; remove {kill_file(layout)} before you start it"
            raise
    except PipelineError as error:
        options.explain(error)
        raise


def _confirm(options: Options, symbols: list[str]) -> None:
    shown: Status = Status(**_ask(options, "status", {}))  # type: ignore[typeddict-item]
    name = shown.get("name") or options.load()[0].name
    print(status_text(shown))
    print(
        f"\nClose the positions of {', '.join(symbols) or 'all symbols'} at market? Type {name} to do it: ",
        end="",
        flush=True,
    )
    typed = sys.stdin.readline()
    if not typed.endswith("\n"):
        print()
    if typed.strip() != name:
        raise BadInput("flatten: not confirmed, nothing was done", f"type {name}, or add --yes")


def _print(options: Options, answer: dict[str, Any], done: str) -> None:
    if options.json:
        print_json(answer)
    else:
        print(answer.get("message") or done)
