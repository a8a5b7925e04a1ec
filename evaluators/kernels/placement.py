"""Where a call's tensors lie in the card's memory: drawn anew at every call, far beyond a few kilobytes.

A short kernel's time depends on where its output lies: on an H100 one of 64 rows took 6.7 us at two thirds of all places and
7.1 us at the others, always the same at the same place, whatever its inputs' places and wherever its code was loaded
(benchmarks/kernels/raw/kernels_placement.jsonl). An allocator that hands out the same few blocks gives each process one such
place for its life, and so its own time. Fresh places turn that into noise between calls, which many calls average out. They
also deny a candidate any address it has seen before (N1).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch

ALIGN = 256
ARENA = 256 << 20
"""Bytes of the arena. A call whose inputs need more than a quarter of it uses fresh allocations instead."""

POOLS = ((1 << 20, 1 << 20, 48), (10 << 20, 8 << 20, 14))
"""torch's pools of shared segments: the largest request each serves, the largest filler here, and at most how many of them."""


class Places:
    """Offsets in one arena and fillers in torch's pools, both drawn from a call's seed."""

    def __init__(self, device: str = "cuda", size: int = ARENA) -> None:
        self.device, self.size = device, size
        self._arena: torch.Tensor | None = None
        self._taken: list[tuple[int, int]] = []
        self._fillers: list[torch.Tensor] = []
        self._stream = random.Random(0)

    def begin(self, seed: int, need: int) -> None:
        """A new call whose inputs need `need` bytes with their bands: earlier places are free again."""
        self._stream = random.Random(seed)
        self._taken = []
        self._open = need <= self.size // 4
        self._fillers = []
        if self._arena is None and self._open:
            self._arena = torch.empty(self.size, dtype=torch.uint8, device=self.device)

    def take(self, nbytes: int) -> Any:
        """A view of `nbytes` of the arena that overlaps no other of this call; a fresh allocation where none is found."""
        if self._open and self._arena is not None:
            for _ in range(64):
                start = ALIGN * self._stream.randrange((self.size - nbytes) // ALIGN)
                if all(start + nbytes <= low or start >= high for low, high in self._taken):
                    self._taken.append((start, start + nbytes))
                    return self._arena[start : start + nbytes]
        return torch.empty(nbytes, dtype=torch.uint8, device=self.device)

    def fill(self, outputs: Sequence[int]) -> None:
        """Leave torch's allocator a free block of just the size of each output (bytes), at a random place, until `free`.

        The allocator takes the smallest block that fits, so that is where a candidate's own output lands. A random row of
        fillers goes before it; they stay for the call, as does one behind it.
        """
        if not self._open:
            return
        holes = []
        for nbytes in outputs:
            for largest, filler, count in POOLS:
                if 0 < nbytes <= largest:
                    low = 512 if largest == POOLS[0][0] else POOLS[0][0] + 512
                    sizes = [self._stream.randrange(low, filler, 512) for _ in range(self._stream.randrange(count))]
                    self._fillers += [self._filler(size) for size in sizes]
                    holes.append(self._filler(nbytes))
                    self._fillers.append(self._filler(low))
                    break
        del holes

    def free(self) -> None:
        self._fillers = []

    def _filler(self, nbytes: int) -> torch.Tensor:
        return torch.empty(nbytes, dtype=torch.uint8, device=self.device)
