"""A run's state from its record: the newest usable checkpoint, then the events since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from evolve.population import checkpoint
from evolve.population import events as ev
from evolve.population.disk import DiskError
from evolve.population.folds import RunState

if TYPE_CHECKING:
    from evolve.population.archive import Archive, Chain

WORTH_KEEPING = 1000
"""Events since the last checkpoint from which on a run that ends leaves a new one: about 0.1 s of folding."""


def state(archive: Archive, run: str) -> RunState:
    """Fold what is on record, and keep the result as a checkpoint where much had to be folded."""
    heads = archive.heads(run)
    if not heads:
        return RunState()
    found, chains = _newest(archive, run, heads)
    folded = found.state if found else RunState()
    have = checkpoint.events_in(folded.seen)
    for recorded in archive.merged(chains):
        folded.apply(recorded)
    if checkpoint.due(have, checkpoint.events_in(folded.seen)):
        try:
            save(archive, run, folded)
        except DiskError:
            pass  # it only spares the next reader time; who writes events meets the same disk and says so
    return folded


def keep(archive: Archive, run: str, folded: RunState) -> None:
    """Save a state its owner is about to let go of, where folding the events since the last checkpoint would take long.

    A full disk is no error here: it only spares the next reader time.
    """
    have = max(checkpoint.count(read(archive, run) or b"") for read in (_cached, _stored))
    if checkpoint.events_in(folded.seen) - have >= WORTH_KEEPING:
        try:
            save(archive, run, folded)
        except DiskError:
            pass


def is_due(archive: Archive, run: str) -> bool:
    """Whether a new checkpoint is worth its while, from the logs' tips and the old one's first line alone."""
    total = sum(ev.position(archive.store.message_of(tip)) + 1 for tip in archive.heads(run).values())
    have = max(checkpoint.count(read(archive, run) or b"") for read in (_cached, _stored))
    return checkpoint.due(have, total)


def _newest(
    archive: Archive, run: str, heads: Mapping[str, str]
) -> tuple[checkpoint.Checkpoint | None, dict[str, Chain]]:
    """A checkpoint from the cache, else from the archive, else none; and the commits of each log's events after it.

    One is used only where every log goes through the very commit it was made at.
    """
    for read in (_cached, _stored):
        data = read(archive, run)
        found = checkpoint.load(data) if data else None
        if found is None or set(found.tips) != set(found.state.seen) or not set(found.tips) <= set(heads):
            continue
        chains = {log: archive.chain(tip, found.state.seen.get(log, 0)) for log, tip in heads.items()}
        if all(found.tips.get(log, "") == before for log, (_, before) in chains.items()):
            return found, {log: chain for log, (chain, _) in chains.items()}
    return None, {log: archive.chain(tip, 0)[0] for log, tip in heads.items()}


def _cached(archive: Archive, run: str) -> bytes | None:
    return checkpoint.read_cache(archive.home, run)


def _stored(archive: Archive, run: str) -> bytes | None:
    oid = archive.refs.read(checkpoint.ref(run))
    return archive.store.read(oid) if oid and archive.store.exists(oid) else None


def save(archive: Archive, run: str, folded: RunState) -> None:
    """Keep a state: in the cache, and in the archive once the run is long. What it holds is made durable first.

    Raises DiskError.
    """
    archive.group.flush()
    heads = archive.heads(run)
    tips = {log: archive.chain(heads[log], count)[1] for log, count in folded.seen.items()}
    data = checkpoint.dump(checkpoint.Checkpoint(folded, tips))
    count = checkpoint.events_in(folded.seen)
    if count >= checkpoint.count(_cached(archive, run) or b""):  # maintenance may end after the run that it looked at
        checkpoint.write_cache(archive.home, run, data)
    if count >= max(checkpoint.EVERY, checkpoint.count(_stored(archive, run) or b"")):
        packs = str(archive.path / "objects" / "pack")
        oid = checkpoint.pack_blob(packs, run, data, durable=archive.store.durable)
        archive.refs.move(checkpoint.ref(run), oid)
        checkpoint.drop_others(packs, run, oid)
    del data
    checkpoint.release()
