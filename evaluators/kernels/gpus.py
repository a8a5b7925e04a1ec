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


class Lease:
    """One card, held until closed or until this process ends."""

    def __init__(self, uuid: str, handle: int) -> None:
        self.uuid, self._handle = uuid, handle

    def close(self) -> None:
        os.close(self._handle)


def take(seconds: float = 600.0, uuids: list[str] | None = None, folder: Path | None = None) -> Lease:
    """Wait for a free card. Raises InfrastructureError when none becomes free in time or there is none."""
    known = cards() if uuids is None else uuids
    if not known:
        raise InfrastructureError(NO_GPU)
    where = folder or Path(tempfile.gettempdir()) / "evolve-gpus"
    where.mkdir(mode=0o1777, parents=True, exist_ok=True)
    until = time.monotonic() + seconds
    while True:
        for uuid in known:
            handle = os.open(where / f"{uuid}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return Lease(uuid, handle)
            except BlockingIOError:
                os.close(handle)
        if time.monotonic() > until:
            raise InfrastructureError(
                f"all {len(known)} GPUs are leased by other measurements; none became free in {seconds:g} s"
            )
        time.sleep(0.05)
