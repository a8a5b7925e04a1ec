"""Secrets of a job: drawn from the operating system, never from a run's seed; only a commitment goes on record.

A secret is kept in a file only its owner can read, outside repository and archive, so that it can be revealed later and
checked against the commitment.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Secret:
    """32 bytes of one job. `commitment`: their hex sha256, which evidence carries."""

    value: bytes

    @property
    def commitment(self) -> str:
        return hashlib.sha256(self.value).hexdigest()

    def of_block(self, block: int) -> bytes:
        """The seed of one block, the same for the trees that alternate within it: sha256(secret, block); -1: of no block."""
        return hashlib.sha256(self.value + block.to_bytes(8, "little", signed=True)).digest()

    def canary(self, name: str = "") -> str:
        """A fake secret to plant: 32 hex digits that nothing but a leak can make appear in a candidate's output."""
        return hashlib.sha256(b"canary\0" + name.encode() + self.value).hexdigest()[:32]


class Secrets:
    """The secrets of a run in one folder (mode 0700), one JSON line each in a file per process (mode 0600)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def draw(self, job: str) -> Secret:
        """A fresh secret, on disk before it is used."""
        secret = Secret(os.urandom(32))
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        line = json.dumps({"job": job, "commitment": secret.commitment, "secret": secret.value.hex()}) + "\n"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(self.folder / f"{os.getpid()}.jsonl", flags, 0o600)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)
        return secret

    def reveal(self, commitment: str) -> Secret | None:
        """The secret behind a commitment; None where this machine does not have it."""
        for path in sorted(self.folder.glob("*.jsonl")):
            for line in path.read_text().splitlines():
                row = json.loads(line)
                if row["commitment"] == commitment and hashlib.sha256(bytes.fromhex(row["secret"])).hexdigest() == commitment:
                    return Secret(bytes.fromhex(row["secret"]))
        return None
