"""Where a call's tensors lie in the card's memory: drawn anew at every call, far beyond a few kilobytes.

A short kernel's time depends on which 2 MiB pages its tensors share with each other (every page is a miss of the TLB after
the L2 refill). An allocator that hands out the same few blocks gives each process one such layout for its life, and so its
own time: 5.05 or 5.60 us for the same kernel on an H100 (docs/kernels.md). Fresh places turn that into noise between calls,
which many calls average out. They also deny a candidate any address it has seen before (N1).
"""

from __future__ import annotations

import random
from typing import Any

import torch

ALIGN = 256
ARENA = 256 << 20
"""Bytes of the arena. A call whose inputs need more than a quarter of it uses fresh allocations instead."""

SMALL, LARGE = (1 << 20, 2 << 20, 24), (9 << 20, 20 << 20, 4)
"""torch's two pools: bytes of a filler, of the segment it makes the allocator reserve, and how many segments are kept."""


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
            for filler, segment, count in (SMALL, LARGE):
                self._fillers += [self._filler(filler) for _ in range(count * (segment // filler))]
            self._fillers = []

    def take(self, nbytes: int) -> Any:
        """A view of `nbytes` of the arena that overlaps no other of this call; a fresh allocation where none is found."""
        if self._open and self._arena is not None:
            for _ in range(64):
                start = ALIGN * self._stream.randrange((self.size - nbytes) // ALIGN)
                if all(start + nbytes <= low or start >= high for low, high in self._taken):
                    self._taken.append((start, start + nbytes))
                    return self._arena[start : start + nbytes]
        return torch.empty(nbytes, dtype=torch.uint8, device=self.device)

    def fill(self) -> None:
        """Occupy a random part of torch's free blocks until `free`, so that the candidate's own tensors land elsewhere."""
        if not self._open:
            return
        for filler, segment, count in (SMALL, LARGE):
            whole = self._stream.randrange(count - 1) * (segment // filler)
            self._fillers += [self._filler(filler) for _ in range(whole)]
            self._fillers.append(self._filler(512 * self._stream.randrange(1, filler // 512)))

    def free(self) -> None:
        self._fillers = []

    def _filler(self, nbytes: int) -> torch.Tensor:
        return torch.empty(nbytes, dtype=torch.uint8, device=self.device)
