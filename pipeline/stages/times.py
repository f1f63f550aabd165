"""Times as people and JSON write them."""

import datetime as dt


def iso(time_ms: int) -> str:
    """Milliseconds since the epoch as `2024-01-31T12:00:00+00:00`."""
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC).isoformat()
