"""modded-nanogpt's `.bin` shards: 256 int32 of header (magic, version, token count), then uint16 tokens."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evolve.tasks.errors import TaskError

MAGIC, VERSION, HEADER = 20240520, 1, 256 * 4
END_OF_TEXT = 50256
"""GPT-2's token that opens every document."""


def read(path: Path) -> npt.NDArray[np.uint16]:
    """The tokens of a shard, mapped read-only. Raises TaskError where header and size do not agree."""
    try:
        size = path.stat().st_size
        header = np.fromfile(path, dtype="<i4", count=256)
    except OSError as error:
        raise TaskError(f"cannot read {path}: {error}") from error
    if len(header) < 256 or header[0] != MAGIC:
        found = header[0] if len(header) else "nothing"
        raise TaskError(f"{path} is no token shard: its first number is {found}, not {MAGIC}; fetch it again")
    if header[1] != VERSION:
        raise TaskError(f"{path} has version {header[1]}, this reads version {VERSION}")
    count = int(header[2])
    if count < 0 or size != HEADER + 2 * count:
        raise TaskError(f"{path} says {count} tokens but holds {(size - HEADER) // 2}: it was cut off; fetch it again")
    return np.memmap(path, dtype="<u2", mode="r", offset=HEADER, shape=(count,)) if count else np.empty(0, np.uint16)


def write(path: Path, tokens: npt.NDArray[np.uint16]) -> None:
    """A shard of at most 2^31 - 1 tokens. Raises ValueError beyond."""
    if len(tokens) >= 1 << 31:
        raise ValueError(f"a shard holds at most {(1 << 31) - 1} tokens, not {len(tokens)}")
    header = np.zeros(256, dtype="<i4")
    header[:3] = MAGIC, VERSION, len(tokens)
    with open(path, "wb") as file:
        file.write(header.tobytes())
        file.write(tokens.astype("<u2").tobytes())


def stream(paths: Iterable[Path]) -> npt.NDArray[np.uint16]:
    """The tokens of several shards, one after the other in the order given."""
    parts = [read(path) for path in paths]
    return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.empty(0, np.uint16)
