"""Device memory that the referee owns and a worker writes: CUDA IPC through the driver, by ctypes.

The referee allocates and exports; the worker opens. So the referee never opens anything a candidate named.
Not run in CI (no GPU there): `benchmarks/gpu/training_sitting.py` runs it.
"""

from __future__ import annotations

import ctypes
import functools
import math
from typing import Any

from evolve.tasks.errors import InfrastructureError

_LAZY_PEER_ACCESS = 1

OPEN = "cuIpcOpenMemHandle"
"""Named in a worker's last words where the driver refuses to open a handle."""

usable = True
"""Set to False once a worker could not open a handle here; shared host memory carries the logits then."""


class _Handle(ctypes.Structure):
    _fields_ = (("reserved", ctypes.c_ubyte * 64),)


@functools.cache
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


def _check(code: int, what: str) -> None:
    if code != 0:
        raise InfrastructureError(f"{what} failed with CUDA error {code}")


class _Array:
    """A raw device pointer as torch takes it (`__cuda_array_interface__`, version 2)."""

    def __init__(self, pointer: int, shape: tuple[int, ...]) -> None:
        self.__cuda_array_interface__ = {"shape": shape, "typestr": "<f4", "data": (pointer, False), "version": 2}


def _tensor(pointer: int, shape: tuple[int, ...]) -> Any:
    import torch

    return torch.as_tensor(_Array(pointer, shape), device="cuda")


class Buffer:
    """float32 device memory of the referee's with a handle for one worker. `close()` gives it back."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Raises InfrastructureError where the driver refuses (no GPU, no memory, no IPC here)."""
        import torch

        torch.zeros(1, device="cuda")  # makes the device's primary context current in this thread
        self._pointer = ctypes.c_uint64()
        handle = _Handle()
        _check(
            _driver().cuMemAlloc_v2(ctypes.byref(self._pointer), ctypes.c_size_t(4 * math.prod(shape))), "cuMemAlloc"
        )
        try:
            _check(_driver().cuIpcGetMemHandle(ctypes.byref(handle), self._pointer), "cuIpcGetMemHandle")
        except InfrastructureError:
            self.close()
            raise
        self.handle = bytes(handle.reserved)
        self.tensor = _tensor(int(self._pointer.value), shape)

    def close(self) -> None:
        if self._pointer.value:
            self.tensor = None
            _check(_driver().cuMemFree_v2(self._pointer), "cuMemFree")
            self._pointer.value = 0


def open_tensor(handle: bytes, shape: tuple[int, ...]) -> Any:
    """The worker's view of a Buffer: float32 of `shape`. Raises InfrastructureError where it cannot be opened."""
    import torch

    torch.zeros(1, device="cuda")
    wanted = _Handle()
    ctypes.memmove(wanted.reserved, handle, 64)
    pointer = ctypes.c_uint64()
    opener = _driver().cuIpcOpenMemHandle_v2
    opener.argtypes = [ctypes.POINTER(ctypes.c_uint64), _Handle, ctypes.c_uint]
    _check(opener(ctypes.byref(pointer), wanted, _LAZY_PEER_ACCESS), OPEN)
    return _tensor(int(pointer.value), shape)
