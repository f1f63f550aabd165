"""The log: one JSON object a line, in UTC, without secrets, rotated by size.

What is told goes through structlog; what libraries say through `logging` goes the same way, so that it is redacted too.
This module is a seam: it writes files.
"""

import contextlib
import json
import logging
import logging.handlers
import resource
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline.config.serve import Log as LogSettings
from pipeline.errors import PipelineError, StorageError
from pipeline.lean import without
from pipeline.live.redaction import Redactor, plain
from pipeline.live.telling import LEVELS

with without("rich", "better_exceptions"):  # what it shows errors with on a terminal
    import structlog

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
        super().__init__(
            path, maxBytes=size, backupCount=max(settings.keep, 1), encoding="utf-8", errors="backslashreplace"
        )
        self.keep = settings.keep
        self.lost = 0

    def line(self, text: str) -> None:
        """Write a line whole, after a rotation if it does not fit."""
        with self.lock or contextlib.nullcontext():
            try:
                stream = self.stream or self._open()
                if stream.tell() + len(text.encode("utf-8", "backslashreplace")) >= self.maxBytes:
                    self.doRollover()
                    stream = self.stream or self._open()
                stream.write(f"{text}\n")
                stream.flush()
            except (OSError, ValueError):
                self._failed()

    def emit(self, record: logging.LogRecord) -> None:
        """Write down what a library said."""
        try:
            text = self.format(record)
        except Exception:  # Its words and their parts do not fit together.
            self._failed()
        else:
            self.line(text)

    def doRollover(self) -> None:  # noqa: N802
        """Begin a new file."""
        super().doRollover()
        if self.keep == 0:
            Path(f"{self.baseFilename}.1").unlink(missing_ok=True)

    def _failed(self) -> None:
        self.lost += 1
        if self.lost == 1:
            reason = type(sys.exception() or OSError()).__name__
            with contextlib.suppress(OSError, ValueError):
                print(f"warning: {self.baseFilename}: cannot be written ({reason}); trading goes on", file=sys.stderr)


class _LastWords(logging.Handler):
    # What `logging` does when nobody listens, without secrets.
    def __init__(self, redactor: Redactor) -> None:
        super().__init__(logging.WARNING)
        self._redactor = redactor

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record on standard error."""
        with contextlib.suppress(Exception):
            print(self._redactor.text(self.format(record)), file=sys.stderr)


class _Lines:
    # What structlog writes to, by the name of a method for each level.
    def __init__(self, file: _File) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = self.msg = file.line


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
        own: list[Any] = [structlog.processors.format_exc_info, self._render]
        self._file.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *own],
                foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name, _named],
            )
        )
        self._level = logging.getLevelNamesMapping()[settings.level.upper()]
        self._say = structlog.wrap_logger(
            _Lines(self._file),
            processors=[structlog.processors.add_log_level, *own],
            wrapper_class=structlog.make_filtering_bound_logger(self._level),
            cache_logger_on_first_use=True,
        )

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        """Write down what was told."""
        if event in ("start", "bundle"):
            self._lasting.update({key: fields[key] for key in _LASTING if key in fields})
        level = logging.getLevelNamesMapping()[str(fields.get("level", LEVELS.get(event, "info"))).upper()]
        if level < self._level:
            return  # Before anything is copied: a hundred symbols tell of each bar.
        rest = {_renamed(key): value for key, value in fields.items() if key != "level"}
        self._say.log(level, event, **{**self._lasting, **rest})

    @property
    def lost(self) -> int:
        """Lines that could not be written."""
        return self._file.lost

    @contextlib.contextmanager
    def hearing_libraries(self) -> Iterator[None]:
        """For the block, write what libraries say to the log as well, and uncaught errors without secrets.

        Warnings and errors of all of them; with `level: debug` also what they call information. A crash of the
        interpreter leaves no image of its memory, where the keys are.
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
        core = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, core[1]))
        # What is said when all is over, as of a task that nobody waited for, goes to standard error.
        logging.lastResort = _LastWords(self._redactor)
        try:
            yield
        except PipelineError as error:
            error.message, error.hint = self._redactor.text(error.message), self._redactor.text(error.hint)
            raise
        except Exception:
            # It is on its way out of the process, and will be shown there.
            kept = (*kept[:2], sys.excepthook, kept[3])
            raise
        finally:
            resource.setrlimit(resource.RLIMIT_CORE, core)
            logging.captureWarnings(False)
            root.handlers, level, sys.excepthook, threading.excepthook = kept
            root.setLevel(level)
            for name, before in levels.items():
                logging.getLogger(name).setLevel(before)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _render(self, _: Any, __: str, line: MutableMapping[str, Any]) -> str:
        line["time"] = utc_text(self._now_ms())
        line = {key: line[key] for key in [*_LEADING, *line] if key in line}
        with contextlib.suppress(ValueError, TypeError):
            text = _json(line)
            if self._redactor.is_clean(text):
                return text
        text = _json(self._redactor.value(dict(line)))
        # Once more over the whole line, for a secret that was put together from parts.
        return self._redactor.known(text)

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


def _json(line: Mapping[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=plain)


def _named(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    # A library's line: who said it, and its words as the reason.
    line["said"] = line.pop("event")
    line["event"] = "library"
    return line


def _renamed(name: str) -> str:
    # structlog has these names for itself.
    return f"{name}_" if name in ("event", "exc_info", "stack_info", "extra", "stacklevel") else name
