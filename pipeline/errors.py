"""The errors a user can meet, and the exit code of each.

Raise the narrowest one; `pipeline.cli.main` prints it as `error: …` without a traceback.
"""


class PipelineError(Exception):
    """Base of all errors that are shown to the user as one message.

    message: what was wrong, naming the file, key or column.
    hint: how to mend it; printed on a line of its own.
    """

    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n       {self.hint}" if self.hint else self.message


class CheckFailed(PipelineError):
    """A gate or verification said no; the input itself was fine."""

    exit_code = 1


class BadInput(PipelineError):
    """A config, file, column or argument that cannot be used as it is."""

    exit_code = 2


class ConfigError(BadInput):
    """A config file that does not validate."""


class MissingInput(BadInput):
    """An artifact that an earlier stage should have written."""


class StorageError(BadInput):
    """A write that failed (disk full, no permission); the old file is intact."""


class Failure(PipelineError):
    """A mistake of ours, or of the machine, that a new start may get over; its traceback is in a log."""

    exit_code = 70


class ExchangeError(PipelineError):
    """The exchange or the network is unavailable, or said no."""

    exit_code = 3
