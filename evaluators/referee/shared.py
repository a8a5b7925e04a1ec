"""The shared-memory channel: tensors whose names, dtypes, shapes and places the referee fixes, in sealed anonymous memory.

The worker reads inputs through a read-only descriptor and writes outputs into memory that it can neither shrink nor
grow. Between calls the outputs are filled with NaN, so that a result that was not computed is not there. What is read is
copied before it is looked at: what the worker changes afterwards changes nothing.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from evolve.evaluators.channel import WIDTHS, Refused, Tensor, tensors

_ALIGN = 64
_SEAL, _SHRINK, _GROW, _FUTURE_WRITE = 0x1, 0x2, 0x4, 0x10
_ADD_SEALS = 1033

Layout = list[tuple[str, str, list[int], int]]
"""(name, dtype, shape, offset in bytes) of each tensor: what the worker is told."""


class Region:
    """One block of shared memory for the tensors of `expected`. `fd` is what the worker gets."""

    def __init__(self, expected: Mapping[str, Tensor], *, worker_writes: bool) -> None:
        self.expected = dict(expected)
        self.layout: Layout = []
        at = 0
        for name, tensor in self.expected.items():
            self.layout.append((name, tensor.dtype, list(tensor.shape), at))
            at += -(-tensor.size // _ALIGN) * _ALIGN
        self.size = max(at, mmap.PAGESIZE)
        self._own = os.memfd_create("evolve-channel", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self._own, self.size)
        self._memory = mmap.mmap(self._own, self.size)
        seals = _SEAL | _SHRINK | _GROW
        if worker_writes:
            self.fd = os.dup(self._own)
        else:  # our mapping stays writable; nobody can make another that is
            self.fd = os.open(f"/proc/self/fd/{self._own}", os.O_RDONLY | os.O_CLOEXEC)
            seals |= _FUTURE_WRITE
        fcntl.fcntl(self._own, _ADD_SEALS, seals)

    def write(self, arrays: Mapping[str, Any]) -> None:
        """Every tensor's bytes. Raises ValueError where one is missing, extra or of another dtype or shape."""
        if set(arrays) != set(self.expected):
            raise ValueError(f"expected {sorted(self.expected)}, got {sorted(arrays)}")
        for name, _, _, at in self.layout:
            tensor, array = self.expected[name], np.ascontiguousarray(arrays[name])
            stored = "uint16" if tensor.dtype == "bfloat16" else tensor.dtype
            if array.dtype != np.dtype(stored) or array.shape != tensor.shape:
                raise ValueError(f"{name} must be {tensor.dtype} {tensor.shape}, not {array.dtype} {array.shape}")
            self._memory[at : at + tensor.size] = array.tobytes()

    def poison(self) -> None:
        """Fill with a bit pattern that is NaN in every floating dtype."""
        self._memory[:] = b"\xff" * self.size

    def take(self) -> dict[str, Any]:
        """Copies of all tensors, validated. Raises channel.Refused (NaN where none may be: not computed, or wrong)."""
        rows, body = [], bytearray()
        for name, dtype, shape, at in self.layout:
            rows.append([name, dtype, shape])
            body += self._memory[at : at + self.expected[name].size]
        return tensors({"tensors": rows}, bytes(body), self.expected)

    def close(self) -> None:
        self._memory.close()
        os.close(self._own)
        os.close(self.fd)


def views(fd: int, layout: Layout, *, writable: bool) -> dict[str, Any]:
    """The worker's end: numpy arrays over the memory. Raises ValueError or OSError where it is not as told."""
    size = os.fstat(fd).st_size
    access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
    memory = mmap.mmap(fd, size, access=access)
    out = {}
    for name, dtype, shape, at in layout:
        count = int(np.prod(shape, dtype=np.int64))
        stored = "uint16" if dtype == "bfloat16" else dtype
        if at + count * WIDTHS[dtype] > size:
            raise ValueError(f"{name} lies beyond the memory")
        out[name] = np.frombuffer(memory, dtype=stored, count=count, offset=at).reshape(shape)
    return out


__all__ = ["Layout", "Refused", "Region", "views"]
