"""The pages' index of a run, kept beside the state's checkpoint, so that a long log is not read through at each start.

In the local cache only: it may be deleted at any time. One is used only where every log goes through the very commit it
was made at (the rule of `evolve.population.replay`), and only by the version that wrote it.
"""

from __future__ import annotations

import dataclasses
import os
import zlib
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolve.population import disk
from evolve.population import events as ev
from evolve.population.columns import Codec
from evolve.population.folds import cells, ledger
from evolve.web import index as pages

if TYPE_CHECKING:
    from evolve.population.archive import Archive

VERSION = 1
"""Raised when the index's meaning changes."""

CODEC = Codec((pages.Point, pages.OperatorCount, ledger.Ledger, cells.Cells, ev.Session, ev.Requested, ev.Started))

_FIELDS = tuple(f.name for f in dataclasses.fields(pages.Index))


def version() -> str:
    return f"{VERSION}/{CODEC.fingerprint()}/{','.join(_FIELDS)}"


def path(home: Path, run: str) -> Path:
    return home / "cache" / f"{run}.pages"


def read(archive: Archive, run: str) -> pages.Index | None:
    """The kept index; None where there is none that fits."""
    try:
        body = CODEC.decode(zlib.decompress(path(archive.home, run).read_bytes()))
    except (OSError, ValueError, zlib.error):
        return None
    if body.pop("version", "") != version() or not isinstance(tips := body.pop("tips", None), dict):
        return None
    body["feed"] = deque(body["feed"], maxlen=pages.FEED)
    found = pages.Index(**{name: body[name] for name in _FIELDS})
    heads = archive.heads(run)
    for log, count in found.seen.items():
        if log not in heads or archive.chain(heads[log], count)[1] != tips.get(log, ""):
            return None
    return found


def write(archive: Archive, run: str, index: pages.Index) -> None:
    """Keep it, where the disk lets us: it only spares the next reader time."""
    heads = archive.heads(run)
    body: dict[str, Any] = {name: getattr(index, name) for name in _FIELDS}
    body["feed"] = list(index.feed)
    body["version"] = version()
    body["tips"] = {log: archive.chain(heads[log], count)[1] for log, count in index.seen.items()}
    place = path(archive.home, run)
    scratch = f"{place}.{os.getpid()}"
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        disk.write_file(scratch, zlib.compress(CODEC.encode(body), 1), durable=False, mode=0o600)
        disk.replace(scratch, str(place))
    except OSError:
        pass
