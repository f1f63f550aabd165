"""The trading core and what it needs: rules, records, fills, loops. Pure: no clock, no network, no randomness."""

import hashlib
from pathlib import Path


def _drop_stale_machine_code(package: Path) -> None:
    # numba's cache notices a change of the file that a function is in, but not of the files whose
    # functions it calls: a changed core would go on trading by the old rules in the cached loops.
    sources = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(package.glob("*.py")))).hexdigest()
    cache = package / "__pycache__"
    stamp = cache / "sources.sha256"
    try:
        if stamp.is_file() and stamp.read_text() == sources:
            return
        for index in cache.glob("*.nbi"):
            index.unlink(missing_ok=True)
        cache.mkdir(exist_ok=True)
        stamp.write_text(sources)
    except OSError:
        return  # a read-only installation does not change


_drop_stale_machine_code(Path(__file__).parent)
