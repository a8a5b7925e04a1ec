"""The CUDA channel: GPU memory of the referee's, opened by the worker through a file descriptor.

The older handles (cudaIpcMemHandle) do not cross the jail: measured on an H100, they need the same user id and the same
/dev/shm on both sides. Memory made with the virtual memory API (cuMemCreate) is exported as a descriptor instead: a
capability that reaches exactly the worker it is sent to, and needs nothing shared. The referee never opens anything that
a candidate made.

The worker can write to whatever it is given, so inputs are copies made for one call, and outputs are copied before they
are looked at. Between calls outputs hold NaN.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from typing import Any

from evolve.evaluators.channel import WIDTHS, Refused, Tensor
from evolve.tasks.errors import InfrastructureError

_ALIGN = 512
_DEVICE, _PINNED, _DESCRIPTOR, _READ_WRITE = 1, 1, 1, 3

Layout = list[tuple[str, str, list[int], int]]
"""(name, torch dtype, shape, offset in bytes) of each tensor."""


class _Location(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int), ("id", ctypes.c_int))


class _Properties(ctypes.Structure):
    """CUmemAllocationProp of cuda.h."""

    _fields_ = (
        ("type", ctypes.c_int), ("handle_types", ctypes.c_int), ("location", _Location), ("win32", ctypes.c_void_p),
        ("flags", ctypes.c_ubyte * 8),
    )  # fmt: skip


class _Access(ctypes.Structure):
    _fields_ = (("location", _Location), ("flags", ctypes.c_int))


def _call(name: str, *arguments: Any) -> None:
    """A function of the driver. Raises InfrastructureError with its name and code."""
    code = getattr(ctypes.CDLL("libcuda.so.1"), name)(*arguments)
    if code != 0:
        raise InfrastructureError(f"{name} returned CUDA error {code}")


class _Mapped:
    """Device memory at an address, for torch to look at (`__cuda_array_interface__`)."""

    def __init__(self, address: int, size: int) -> None:
        self.__cuda_array_interface__ = {"shape": (size,), "typestr": "|u1", "data": (address, False), "version": 3}


def _map(handle: ctypes.c_ulonglong, size: int, device: int) -> int:
    address = ctypes.c_ulonglong()
    long = ctypes.c_size_t
    _call("cuMemAddressReserve", ctypes.byref(address), long(size), long(0), ctypes.c_ulonglong(0), ctypes.c_ulonglong(0))
    _call("cuMemMap", address, long(size), long(0), handle, ctypes.c_ulonglong(0))
    access = _Access(_Location(_DEVICE, device), _READ_WRITE)
    _call("cuMemSetAccess", address, long(size), ctypes.byref(access), long(1))
    return int(address.value)


def _unmap(address: int, size: int) -> None:
    _call("cuMemUnmap", ctypes.c_ulonglong(address), ctypes.c_size_t(size))
    _call("cuMemAddressFree", ctypes.c_ulonglong(address), ctypes.c_size_t(size))


def _tensors(address: int, size: int, device: int, layout: Layout) -> dict[str, Any]:
    import torch

    raw = torch.as_tensor(_Mapped(address, size), device=f"cuda:{device}")
    out = {}
    for name, dtype, shape, at in layout:
        count = WIDTHS[dtype]
        for length in shape:
            count *= length
        out[name] = raw[at : at + count].view(getattr(torch, dtype)).reshape(shape)
    return out


class Region:
    """One block of GPU memory for the tensors of `expected`. `fd` is what the worker gets; `tensors` is our view."""

    def __init__(self, expected: Mapping[str, Tensor], device: int = 0) -> None:
        import torch

        torch.zeros(1, device=f"cuda:{device}")  # the driver's calls below act in the context this makes current
        self.expected, self.device = dict(expected), device
        self.layout: Layout = []
        at = 0
        for name, tensor in self.expected.items():
            self.layout.append((name, tensor.dtype, list(tensor.shape), at))
            at += -(-tensor.size // _ALIGN) * _ALIGN
        wanted = _Properties(_PINNED, _DESCRIPTOR, _Location(_DEVICE, device))
        step = ctypes.c_size_t()
        _call("cuMemGetAllocationGranularity", ctypes.byref(step), ctypes.byref(wanted), 0)
        self.size = -(-max(at, 1) // step.value) * step.value
        self._handle = ctypes.c_ulonglong()
        _call("cuMemCreate", ctypes.byref(self._handle), ctypes.c_size_t(self.size), ctypes.byref(wanted), ctypes.c_ulonglong(0))
        descriptor = ctypes.c_int()
        _call("cuMemExportToShareableHandle", ctypes.byref(descriptor), self._handle, _DESCRIPTOR, ctypes.c_ulonglong(0))
        self.fd = descriptor.value
        self._address = _map(self._handle, self.size, device)
        self.tensors = _tensors(self._address, self.size, device, self.layout)

    def told(self) -> dict[str, Any]:
        """What the worker is told of it: plain JSON, beside the descriptor."""
        return {"size": self.size, "device": self.device, "layout": self.layout}

    def write(self, arrays: Mapping[str, Any]) -> None:
        """Copy every tensor in. Raises ValueError where one is missing or extra."""
        if set(arrays) != set(self.expected):
            raise ValueError(f"expected {sorted(self.expected)}, got {sorted(arrays)}")
        for name, tensor in self.tensors.items():
            tensor.copy_(arrays[name])

    def poison(self) -> None:
        """All bits set, which is NaN in every floating dtype; on the device before this returns."""
        import torch

        for tensor in self.tensors.values():
            tensor.view(torch.uint8).fill_(255)
        torch.cuda.synchronize(self.device)

    def take(self) -> dict[str, Any]:
        """Copies, after everything on the device has ended. Raises Refused on NaN or infinity where none may be."""
        import torch

        torch.cuda.synchronize(self.device)
        out = {name: tensor.clone() for name, tensor in self.tensors.items()}
        torch.cuda.synchronize(self.device)
        for name, tensor in out.items():
            if not self.expected[name].any_value and tensor.dtype.is_floating_point and not bool(tensor.isfinite().all()):
                raise Refused(f"tensor {name!r} holds NaN or infinity")
        return out

    def close(self) -> None:
        self.tensors.clear()
        _unmap(self._address, self.size)
        _call("cuMemRelease", self._handle)
        os.close(self.fd)


def attach(fd: int, told: Mapping[str, Any]) -> dict[str, Any]:
    """The worker's end: tensors over the referee's memory, for as long as the worker lives."""
    import torch

    torch.zeros(1, device=f"cuda:{told['device']}")
    handle = ctypes.c_ulonglong()
    _call("cuMemImportFromShareableHandle", ctypes.byref(handle), ctypes.c_void_p(fd), _DESCRIPTOR)
    address = _map(handle, told["size"], told["device"])
    return _tensors(address, told["size"], told["device"], told["layout"])


def serve_cuda(channel: int, target: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    """The worker's loop, as `harness.serve_shared`: descriptors 4 and 5 are the regions of inputs and outputs."""
    import socket

    import torch

    from evolve.evaluators.channel import pack
    from evolve.evaluators.referee.harness import INPUTS, OUTPUTS, receive
    from evolve.evaluators.sandbox.worker import load

    connection = socket.socket(fileno=channel)
    given, wanted = attach(INPUTS, inputs), attach(OUTPUTS, outputs)
    function = load(target)
    connection.sendall(pack({"ready": True}))
    while (order := receive(connection)) is not None:
        result = function(**given)
        if not isinstance(result, dict):
            (only,) = wanted
            result = {only: result}
        for name, tensor in wanted.items():
            tensor.copy_(result[name])
        torch.cuda.synchronize()
        connection.sendall(pack({"done": order["call"]}))
