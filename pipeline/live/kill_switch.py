"""The kill switch: a file that stops trading while it is there, also when nothing else can be reached.

This module is a seam: it looks at the disk.
"""

from pathlib import Path


class KillSwitch:
    """A file, `data/NAME/serve/KILL`. What it says is the reason."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def reason(self) -> str:
        """Why trading must stop; empty while it may go on.

        A file that cannot be looked at counts as there: a switch that may have been thrown was thrown.
        """
        try:
            with self.path.open("rb") as file:
                words = file.read(200).decode("utf-8", "replace").strip()
        except FileNotFoundError:
            return ""
        except IsADirectoryError:
            words = ""
        except OSError as error:
            return f"kill switch: {self.path} cannot be looked at: {error.strerror}"
        said = " ".join(words.split())
        return f"kill switch: {said}" if said else f"kill switch: {self.path} is there"
