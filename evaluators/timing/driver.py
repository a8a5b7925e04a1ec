"""The CUDA driver and NVRTC through ctypes: pointers taken before a candidate is loaded, so patching torch changes nothing.

Works beside torch in torch's primary context. Every call checks its result and raises `CudaError` naming the function.
Settings of the card (clocks, power, MIG) are never touched: no function here could.
"""

from __future__ import annotations

import ctypes
import functools
import glob
import os
import sys
from collections.abc import Sequence
from typing import Any

from evolve.tasks.errors import InfrastructureError

SMS, SHARED_OPTIN, L2_BYTES, CLOCK_KHZ = 16, 97, 38, 13
MAX_DYNAMIC_SHARED = 8
PERSISTING_L2 = 6
NOT_READY = 600


class CudaError(InfrastructureError):
    """A driver or NVRTC call failed; `code` is CUresult (or nvrtcResult)."""

    def __init__(self, what: str, code: int, detail: str = "") -> None:
        super().__init__(f"{what} returned {code}{': ' + detail if detail else ''}")
        self.code = code


class Driver:
    """libcuda's functions this project needs, on the current context."""

    def __init__(self) -> None:
        try:
            self._cuda = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise CudaError("loading libcuda.so.1", -1, str(error)) from error

    def call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._cuda, name)(*arguments)
        if code:
            text = ctypes.c_char_p()
            self._cuda.cuGetErrorString(code, ctypes.byref(text))
            raise CudaError(name, code, (text.value or b"").decode())

    # ---- device and context --------------------------------------------------------------------------------------

    def attribute(self, which: int, device: int = 0) -> int:
        value = ctypes.c_int()
        self.call("cuDeviceGetAttribute", ctypes.byref(value), which, device)
        return value.value

    def synchronize(self) -> None:
        self.call("cuCtxSynchronize")

    def reset_persisting_l2(self) -> None:
        self.call("cuCtxResetPersistingL2Cache")

    def persisting_l2(self) -> int:
        """Bytes of L2 that this context lets persist; cheap, as nothing waits."""
        size = ctypes.c_size_t()
        self.call("cuCtxGetLimit", ctypes.byref(size), PERSISTING_L2)
        return size.value

    def forbid_persisting_l2(self) -> None:
        self.call("cuCtxSetLimit", PERSISTING_L2, ctypes.c_size_t(0))

    # ---- memory --------------------------------------------------------------------------------------------------

    def allocate(self, size: int) -> int:
        pointer = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size))
        return pointer.value

    def free(self, pointer: int) -> None:
        self.call("cuMemFree_v2", ctypes.c_uint64(pointer))

    def ipc_handle(self, pointer: int) -> bytes:
        handle = (ctypes.c_char * 64)()
        self.call("cuIpcGetMemHandle", ctypes.byref(handle), ctypes.c_uint64(pointer))
        return bytes(handle)

    def ipc_open(self, handle: bytes) -> int:
        pointer = ctypes.c_uint64()
        self.call("cuIpcOpenMemHandle_v2", ctypes.byref(pointer), _Handle.from_buffer_copy(handle), 1)
        return pointer.value

    def ipc_close(self, pointer: int) -> None:
        self.call("cuIpcCloseMemHandle", ctypes.c_uint64(pointer))

    def register_host(self, address: int, size: int) -> int:
        """Page-lock host memory and return its device address (device-mapped, portable)."""
        self.call("cuMemHostRegister_v2", ctypes.c_void_p(address), ctypes.c_size_t(size), 3)
        pointer = ctypes.c_uint64()
        self.call("cuMemHostGetDevicePointer_v2", ctypes.byref(pointer), ctypes.c_void_p(address), 0)
        return pointer.value

    # ---- events --------------------------------------------------------------------------------------------------

    def event(self) -> ctypes.c_void_p:
        event = ctypes.c_void_p()
        self.call("cuEventCreate", ctypes.byref(event), 0)
        return event

    def record(self, event: ctypes.c_void_p, stream: int) -> None:
        self.call("cuEventRecord", event, ctypes.c_void_p(stream))

    def elapsed(self, start: ctypes.c_void_p, end: ctypes.c_void_p) -> float:
        """Seconds between two completed events."""
        milliseconds = ctypes.c_float()
        name = "cuEventElapsedTime_v2" if hasattr(self._cuda, "cuEventElapsedTime_v2") else "cuEventElapsedTime"
        self.call(name, ctypes.byref(milliseconds), start, end)
        return milliseconds.value * 1e-3

    # ---- streams -------------------------------------------------------------------------------------------------

    def busy(self, stream: int) -> bool:
        """Whether work that was given to the stream has not ended yet."""
        code = self._cuda.cuStreamQuery(ctypes.c_void_p(stream))
        if code not in (0, NOT_READY):
            raise CudaError("cuStreamQuery", code)
        return bool(code == NOT_READY)

    def wait(self, stream: int, event: ctypes.c_void_p) -> None:
        """What is given to the stream from now on begins after the event."""
        self.call("cuStreamWaitEvent", ctypes.c_void_p(stream), event, 0)

    # ---- modules -------------------------------------------------------------------------------------------------

    def load(self, image: bytes) -> ctypes.c_void_p:
        module = ctypes.c_void_p()
        self.call("cuModuleLoadData", ctypes.byref(module), image)
        return module

    def function(self, module: ctypes.c_void_p, name: str) -> ctypes.c_void_p:
        function = ctypes.c_void_p()
        self.call("cuModuleGetFunction", ctypes.byref(function), module, name.encode())
        return function

    def allow_shared(self, function: ctypes.c_void_p, size: int) -> None:
        self.call("cuFuncSetAttribute", function, MAX_DYNAMIC_SHARED, size)

    def launch(
        self, function: ctypes.c_void_p, grid: int, block: int, shared: int, stream: int, arguments: Sequence[Any]
    ) -> None:
        """Launch in one dimension; arguments are ctypes values in the kernel's order."""
        table = (ctypes.c_void_p * len(arguments))(
            *(ctypes.cast(ctypes.pointer(a), ctypes.c_void_p) for a in arguments)
        )
        self.call("cuLaunchKernel", function, grid, 1, 1, block, 1, 1, shared, ctypes.c_void_p(stream), table, None)


class _Handle(ctypes.Structure):
    _fields_ = [("reserved", ctypes.c_char * 64)]


@functools.cache
def compile_cubin(source: str, arch: str) -> bytes:
    """Machine code of CUDA C++ for `arch` ("sm_90"), by NVRTC (ships with torch; needs no GPU).

    Raises CudaError with the compiler's log.
    """
    nvrtc = _nvrtc()
    program = ctypes.c_void_p()
    _checked(nvrtc, "nvrtcCreateProgram", ctypes.byref(program), source.encode(), b"harness.cu", 0, None, None)
    options = [f"--gpu-architecture={arch}".encode(), b"--std=c++17"]
    table = (ctypes.c_char_p * len(options))(*options)
    code = nvrtc.nvrtcCompileProgram(program, len(options), table)
    if code:
        size = ctypes.c_size_t()
        _checked(nvrtc, "nvrtcGetProgramLogSize", program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        _checked(nvrtc, "nvrtcGetProgramLog", program, log)
        raise CudaError("nvrtcCompileProgram", code, log.value.decode(errors="replace"))
    size = ctypes.c_size_t()
    _checked(nvrtc, "nvrtcGetCUBINSize", program, ctypes.byref(size))
    image = ctypes.create_string_buffer(size.value)
    _checked(nvrtc, "nvrtcGetCUBIN", program, image)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return image.raw


def _checked(library: Any, name: str, *arguments: Any) -> None:
    if code := getattr(library, name)(*arguments):
        raise CudaError(name, code)


@functools.cache
def _nvrtc() -> Any:
    places: list[str] = []
    for folder in (*sys.path, "/usr/local/cuda/lib64"):
        for pattern in ("nvidia/*/lib/libnvrtc.so.1[0-9]", "libnvrtc.so.1[0-9]"):
            places += sorted(glob.glob(os.path.join(folder, pattern)), reverse=True)
    places += ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"]
    for place in places:
        try:
            for builtins in sorted(
                glob.glob(os.path.join(os.path.dirname(place) or "/nowhere", "libnvrtc-builtins.so.1*"))
            ):
                ctypes.CDLL(builtins, mode=ctypes.RTLD_GLOBAL)
            return ctypes.CDLL(place)
        except OSError:
            continue
    raise CudaError(
        "loading libnvrtc",
        -1,
        "not found beside torch nor in /usr/local/cuda/lib64; install the CUDA toolkit or torch's wheels",
    )
