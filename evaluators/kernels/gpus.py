"""Leases of GPUs by lock file: one measurement a card, whoever asks; several cards are used when there."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from evolve.tasks.errors import InfrastructureError

NO_GPU = (
    "no NVIDIA GPU was found here, and kernel times mean nothing without one; what still works: the whole protocol on the CPU "
    "(--set evaluate.settings.device=cpu, simulated clock), 'evolve show' and re-judging of stored evidence"
)


def cards() -> list[str]:
    """UUIDs of the cards nvidia-smi lists, those CUDA_VISIBLE_DEVICES hides left out; empty without one."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    found = subprocess.run(
        [tool, "--query-gpu=index,uuid", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    rows = [line.split(", ") for line in found.stdout.splitlines() if ", " in line]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        allowed = {item.strip() for item in visible.split(",")}
        rows = [row for row in rows if row[0] in allowed or row[1] in allowed]
    return [row[1] for row in rows]


_OWN: dict[str, list[int]] = {}
"""UUID -> handles of its lock file that this process holds."""


class Lease:
    """One card, held until closed or until this process ends."""

    def __init__(self, uuid: str, handle: int) -> None:
        self.uuid, self._handle = uuid, handle
        _OWN.setdefault(uuid, []).append(handle)

    def close(self) -> None:
        _OWN[self.uuid].remove(self._handle)
        os.close(self._handle)


def take(seconds: float = 600.0, uuids: list[str] | None = None, folder: Path | None = None) -> Lease:
    """Wait for a free card. Raises InfrastructureError when none becomes free in time or there is none."""
    known = cards() if uuids is None else uuids
    if not known:
        raise InfrastructureError(NO_GPU)
    where = _locks(folder)
    until = time.monotonic() + seconds
    while True:
        for uuid in known:
            if lease := _try(where, uuid):
                return lease
        _wait(until, 1, len(known), seconds)


def several(
    count: int, seconds: float = 600.0, uuids: list[str] | None = None, folder: Path | None = None
) -> list[Lease]:
    """Wait for `count` cards, all of them or none. One that this process leased already is shared with it, since a
    process measures one thing at a time. Raises InfrastructureError where there are fewer or they stay taken."""
    known = cards() if uuids is None else uuids
    if len(known) < count:
        raise InfrastructureError(f"{count} NVIDIA GPUs are needed and {len(known)} are visible here")
    where = _locks(folder)
    until = time.monotonic() + seconds
    while True:
        got: list[Lease] = []
        for uuid in sorted(known, key=lambda uuid: not _OWN.get(uuid)):
            if len(got) == count:
                break
            lease = Lease(uuid, os.dup(_OWN[uuid][0])) if _OWN.get(uuid) else _try(where, uuid)
            got += [lease] if lease else []
        if len(got) == count:
            return got
        for lease in got:
            lease.close()
        _wait(until, count, len(known), seconds)


def _locks(folder: Path | None) -> Path:
    where = folder or Path(tempfile.gettempdir()) / "evolve-gpus"
    where.mkdir(mode=0o1777, parents=True, exist_ok=True)
    return where


def _try(where: Path, uuid: str) -> Lease | None:
    handle = os.open(where / f"{uuid}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return Lease(uuid, handle)


def _wait(until: float, count: int, known: int, seconds: float) -> None:
    if time.monotonic() > until:
        what = "none became free" if count == 1 else f"{count} were never free at once"
        raise InfrastructureError(f"all {known} GPUs are leased by other measurements; {what} in {seconds:g} s")
    time.sleep(0.05)
