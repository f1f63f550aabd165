"""The log: one JSON object a line, in UTC, without secrets, rotated by size.

What is told goes through structlog; what libraries say through `logging` goes the same way, so that it is redacted too.
This module is a seam: it writes files.
"""

import contextlib
import json
import logging
import logging.handlers
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog

from pipeline.config.serve import Log as LogSettings
from pipeline.errors import StorageError
from pipeline.live.redaction import Redactor
from pipeline.live.telling import LEVELS

_NAME = "pipeline.serve"
_FOREIGN = ("binance", "aiohttp", "websockets", "asyncio", "apprise", "urllib3", "psycopg", "py.warnings")
# First in each line, in this order.
_LEADING = ("time", "level", "event", "name", "mode", "bundle", "bar", "symbol", "client_order_id")
# Told once and true from then on; each line carries them.
_LASTING = ("name", "mode", "bundle")


class _File(logging.handlers.RotatingFileHandler):
    # What cannot be written is counted; the standard way shows the record, secrets and all, on standard error.
    def __init__(self, path: Path, settings: LogSettings) -> None:
        size = max(int(settings.max_mb * 1_000_000), 1)
        # Without a file to rotate to, the standard way keeps on writing to the same one.
        super().__init__(path, maxBytes=size, backupCount=max(settings.keep, 1), encoding="utf-8")
        self.keep = settings.keep
        self.lost = 0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        self.lost += 1
        if self.lost == 1:
            reason = type(sys.exception() or OSError()).__name__
            with contextlib.suppress(OSError, ValueError):
                print(f"warning: {self.baseFilename}: cannot be written ({reason}); trading goes on", file=sys.stderr)

    def doRollover(self) -> None:  # noqa: N802
        super().doRollover()
        if self.keep == 0:
            Path(f"{self.baseFilename}.1").unlink(missing_ok=True)


class ServeLog:
    """An open log, and a listener of `Tell`. Close it.

    path: of the file; its folder is made. now_ms: the time, ms since 1970. redactor: takes secrets out.
    Raises StorageError: the file cannot be opened.
    """

    def __init__(self, path: Path, settings: LogSettings, now_ms: Callable[[], int], redactor: Redactor) -> None:
        self.path = path
        self._now_ms = now_ms
        self._redactor = redactor
        self._lasting: dict[str, Any] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _File(path, settings)
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror}") from error
        shared: list[Any] = [structlog.stdlib.add_log_level, self._stamp]
        self._file.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                processors=[
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.format_exc_info,
                    self._redact,
                    self._render,
                ],
                foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name, _named],
                # The record's own text would be written after ours.
                use_get_message=True,
                keep_exc_info=False,
            )
        )
        self._level = logging.getLevelNamesMapping()[settings.level.upper()]
        # Not in the tree of loggers: what is told is written once, whatever others do to `logging`.
        self._logger = logging.Logger(_NAME)
        self._logger.addHandler(self._file)
        self._say = structlog.wrap_logger(
            self._logger,
            processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
            wrapper_class=structlog.stdlib.BoundLogger,
            cache_logger_on_first_use=True,
        )

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        """Write down what was told."""
        if event in ("start", "bundle"):
            self._lasting.update({key: fields[key] for key in _LASTING if key in fields})
        level = logging.getLevelNamesMapping()[str(fields.get("level", LEVELS.get(event, "info"))).upper()]
        if level < self._level:
            return
        rest = {_renamed(key): value for key, value in fields.items() if key != "level"}
        self._say.log(level, event, **{**self._lasting, **rest})

    @property
    def lost(self) -> int:
        """Lines that could not be written."""
        return self._file.lost

    @contextlib.contextmanager
    def hearing_libraries(self) -> Iterator[None]:
        """For the block, write what libraries say to the log as well, and uncaught errors without secrets.

        Warnings and errors of all of them; with `level: debug` also what they call information.
        """
        root = logging.getLogger()
        kept = root.handlers[:], root.level, sys.excepthook, threading.excepthook
        foreign = logging.INFO if self._level == logging.DEBUG else max(self._level, logging.WARNING)
        levels = {name: logging.getLogger(name).level for name in _FOREIGN}
        root.handlers = [self._file]
        root.setLevel(foreign)
        for name in _FOREIGN:
            logging.getLogger(name).setLevel(logging.NOTSET)
        logging.captureWarnings(True)
        sys.excepthook, threading.excepthook = self._uncaught, self._uncaught_in_thread
        try:
            yield
        finally:
            logging.captureWarnings(False)
            root.handlers, level, sys.excepthook, threading.excepthook = kept
            root.setLevel(level)
            for name, before in levels.items():
                logging.getLogger(name).setLevel(before)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _stamp(self, _: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        line["time"] = utc_text(self._now_ms())
        return line

    def _redact(self, _: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        clean: dict[str, Any] = self._redactor.value(dict(line))
        return {key: clean[key] for key in [*_LEADING, *clean] if key in clean}

    def _render(self, _: Any, __: str, line: MutableMapping[str, Any]) -> str:
        # Once more over the whole line, for a secret that was put together from parts.
        return self._redactor.known(json.dumps(line, ensure_ascii=False, separators=(",", ":")))

    def _uncaught(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        self._say.critical("crash", **self._lasting, exc_info=(kind, error, trace))
        with contextlib.suppress(OSError, ValueError):
            print(uncaught_text(error, self._redactor), file=sys.stderr)

    def _uncaught_in_thread(self, told: threading.ExceptHookArgs) -> None:
        if told.exc_value is not None and told.exc_type is not SystemExit:
            self._uncaught(told.exc_type, told.exc_value, told.exc_traceback)


def uncaught_text(error: BaseException, redactor: Redactor) -> str:
    """An error with its traceback, as Python prints it, without secrets."""
    import traceback

    return "\n".join(redactor.text(line) for line in "".join(traceback.format_exception(error)).splitlines())


def utc_text(time_ms: int) -> str:
    """A time as ISO 8601 with milliseconds: 2024-01-31T12:00:00.000Z."""
    moment = datetime.fromtimestamp(time_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z"


def _named(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    # A library's line: who said it, and its words as the reason.
    line["said"] = line.pop("event")
    line["event"] = "library"
    return line


def _renamed(name: str) -> str:
    # structlog has these names for itself.
    return f"{name}_" if name in ("event", "exc_info", "stack_info", "extra", "stacklevel") else name
