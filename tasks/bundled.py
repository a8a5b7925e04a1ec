"""The tasks that come with the tool, found by folder name and read by path."""

from __future__ import annotations

import difflib
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def names() -> list[str]:
    """Names of the bundled tasks, sorted."""
    return sorted(path.parent.name for path in _HERE.glob("*/task.toml"))


def find(name: str) -> Path | None:
    """Folder of a bundled task, or None."""
    return _HERE / name if name in names() else None


def nearest(name: str) -> str:
    """A sentence naming the nearest bundled task, or all of them."""
    close = difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"bundled: {', '.join(names())}"
