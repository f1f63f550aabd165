"""Bring an exchange back to where its journal says it was, by doing everything again."""

import contextlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from pipeline.errors import BadInput
from pipeline.exchange.local.engine import Engine
from pipeline.exchange.local.errors import ApiError
from pipeline.exchange.local.journal import read
from pipeline.exchange.local.operations import call

_ANEW = "start it with the same data, scenario and seed, or without the journal"


def restore(engine: Engine, text: str, until: int = 0, run: Callable[..., Any] = call) -> None:
    """Do again what a journal tells. engine: new, with the same data, settings and seed. until: moments to go on to;
    run: what a request is run by.

    Raises BadInput: the journal is damaged, or something comes out otherwise than it did.
    """
    accounts = {account.uid: account for account in engine.accounts.values()}
    told = list(read(text))
    for entry in told:
        while engine.timeline.moments < entry["moment"] and not engine.done:
            engine.advance()
        if entry["kind"] == "request":
            with contextlib.suppress(ApiError):  # As the first time: the comparison below tells.
                run(engine, accounts[entry["account"]], entry["name"], entry["params"])
        elif entry["kind"] == "deposit":
            engine.deposit(accounts[entry["account"]], entry["asset"], Decimal(entry["amount"]))
        elif entry["kind"] == "control":
            engine.control(entry["name"], **entry["args"])
    # Not by other ends of lines, which what clients send may hold.
    lines = text.encode().split(b"\n")
    for entry, line, again in zip(told, lines, engine.journal.lines, strict=False):
        if line != again:
            raise BadInput(f"journal, entry {entry['n']}: something else happened this time", _ANEW)
    while engine.timeline.moments < until and not engine.done:
        engine.advance()
    engine.drain()
