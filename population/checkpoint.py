"""Checkpoints: a run's folded state, so that opening a long run does not fold every event again.

Kept twice, in one form: in the local cache, which may be deleted at any time, and as a blob in the archive
(`refs/evolve/<run>/checkpoint`), replaced whole when enough has happened since. A checkpoint is used only where the
logs go through the very commits it was made at; else it is as if it were not there.
"""

from __future__ import annotations

import ctypes
import dataclasses
import enum
import gc
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from evolve.population import brief, candidate, disk, events, pack
from evolve.population.columns import Codec
from evolve.population.folds import (
    STATE_VERSION,
    RunState,
    credit,
    ledger,
    lineage,
    live,
    memory,
    pipeline,
    plateau,
    studies,
)
from evolve.population.objects import BLOB, object_id
from evolve.tasks import evidence, verdict

EVERY = 10_000
SHARE = 0.08
"""A checkpoint is due after this many events, or this share of those it holds, whichever is more: so all checkpoints
together cost a constant a event, and a cold start folds at most that share again."""

MAGIC = b"evolve checkpoint 1, events "
"""Begins a checkpoint; the number of its events and a line end follow, then the compressed columns."""

_ATTRIBUTES = ("seen", "clock", "last_time", "lineage", "ledger", "pending", "live", "memory", "studies", "plateaus", "credit")


def _records(*modules: ModuleType) -> Iterator[type]:
    for module in modules:
        for value in vars(module).values():
            ours = isinstance(value, type) and value.__module__ == module.__name__
            if ours and (dataclasses.is_dataclass(value) or issubclass(value, enum.Enum)):
                yield value


CODEC = Codec(
    _records(
        events, brief, candidate, verdict, evidence, ledger, lineage, live, memory, pipeline, studies, plateau, credit
    )
)


def version() -> str:
    """Of the folds and of the records' shape: another version's checkpoint is not read."""
    return f"{STATE_VERSION}/{CODEC.fingerprint()}"


@dataclasses.dataclass(frozen=True, slots=True)
class Checkpoint:
    """state: the folded state. tips: log -> the commit of the last event in it."""

    state: RunState
    tips: Mapping[str, str]


def dump(checkpoint: Checkpoint) -> bytes:
    """Compressed columns. Raises TypeError where a fold holds what no column can (a programming error)."""
    state = checkpoint.state
    values = RunState.__getstate__(state)
    if set(values) != set(_ATTRIBUTES):
        raise TypeError(f"RunState has {sorted(values)}, checkpoints know {sorted(_ATTRIBUTES)}")
    body = {"version": version(), "tips": dict(checkpoint.tips), **{name: values[name] for name in _ATTRIBUTES}}
    with _without_gc():
        packed = zlib.compress(CODEC.encode(body), 1)
    return b"%s%d\n%s" % (MAGIC, events_in(state.seen), packed)


def release() -> None:
    """Give memory that a dump freed back to the system, where the C library can (glibc): it would keep tens of MB."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def load(data: bytes) -> Checkpoint | None:
    """None for one of another version or one that is damaged."""
    with _without_gc():
        try:
            body = CODEC.decode(zlib.decompress(data.partition(b"\n")[2]))
            if body.pop("version") != version():
                return None
            tips = body.pop("tips")
        except (ValueError, KeyError, zlib.error):
            return None
        if set(body) != set(_ATTRIBUTES):
            return None
        state = RunState()
        state.__setstate__(body)
    if events_in(state.seen) >= EVERY:
        gc.freeze()  # it lives as long as the process: a full collection need not walk its million objects each time
    return Checkpoint(state, tips)


@contextmanager
def _without_gc() -> Iterator[None]:
    """Nothing built meanwhile is garbage; looking for some would double the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def count(data: bytes) -> int:
    """Number of events in a dumped checkpoint, from its first line; 0 for anything else."""
    head = data[: len(MAGIC) + 20].partition(b"\n")[0]
    number = head.removeprefix(MAGIC)
    return int(number) if head.startswith(MAGIC) and number.isdigit() else 0


def events_in(seen: Mapping[str, int]) -> int:
    return sum(seen.values())


def due(have: int, total: int) -> bool:
    """Whether a checkpoint of `total` events should replace one of `have`."""
    return total - have >= max(EVERY, SHARE * have)


# ---- where they are kept ---------------------------------------------------------------------------------------------


def ref(run: str) -> str:
    return f"refs/evolve/{run}/checkpoint"


def cache_path(home: Path, run: str) -> Path:
    return home / "cache" / f"{run}.state"


def write_cache(home: Path, run: str, data: bytes) -> None:
    """Replace the cached state. Raises DiskError."""
    path = cache_path(home, run)
    scratch = f"{path}.{os.getpid()}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        disk.write_file(scratch, data, durable=False, mode=0o600)
        disk.replace(scratch, str(path))
    except OSError as error:
        raise disk.DiskError(error, path) from error


def read_cache(home: Path, run: str) -> bytes | None:
    try:
        return cache_path(home, run).read_bytes()
    except FileNotFoundError:
        return None


def pack_blob(packs: str, run: str, data: bytes, *, durable: bool) -> str:
    """The checkpoint as a pack of its own; returns the blob's id. `drop_others` removes its forerunners' packs."""
    oid = object_id(BLOB, data)
    pack.store(pack.build([(oid, BLOB, data)]), packs, durable=durable, keep=_label(run, oid))
    return oid


def drop_others(packs: str, run: str, oid: str) -> None:
    """Remove the packs of earlier checkpoints: they are derived from the log, and replaced whole."""
    ours, current = _label(run, ""), _label(run, oid)
    for entry in list(os.scandir(packs)):
        if entry.name.endswith(".keep"):
            try:
                text = Path(entry.path).read_text("utf-8", "replace")
            except FileNotFoundError:
                continue
            if text.startswith(ours) and text != current:
                stem = entry.path.removesuffix(".keep")
                disk.unlink((stem + ".idx", stem + ".pack", stem + ".keep"))


def _label(run: str, oid: str) -> str:
    return f"evolve checkpoint {run} {oid}"
