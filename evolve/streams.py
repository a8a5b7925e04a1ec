"""Random streams derived from (run seed, purpose, number): the same on every machine and Python."""

from __future__ import annotations

import hashlib
import random


def stream(seed: int, purpose: str, number: int) -> random.Random:
    """The random stream of (run seed, purpose, number)."""
    return random.Random(stream_seed(seed, purpose, number))


def stream_seed(seed: int, purpose: str, number: int) -> int:
    """Its seed: 64 bits of a sha256 over the three."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}/{number}".encode()).digest()[:8], "big")
