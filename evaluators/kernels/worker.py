"""The candidate's process: loads a solution and makes one call at a time, as the referee orders. Trusted by nobody.

What it reports (times, types, "no input was changed") are claims. What it hands over are bytes in memory the referee
copies at once; the referee's clock brackets every call. The functions it measures with are bound before the candidate is
loaded (`_K`), which stops careless patches; the determined ones gain nothing because the referee believes none of it.
"""

from __future__ import annotations

import importlib.util
import math
import mmap
import os
import random
import socket
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from evolve.evaluators.kernels import wire

PACKAGE = "evolve_candidate"
RESERVED = {
    "torch",
    "triton",
    "numpy",
    "evolve",
    "sol_execbench",
    "cupti",
    "safetensors",
    "workload",
    "definition",
    "config",
}
"""Module names a solution may not bring (N3)."""


class CandidateFault(Exception):
    """The candidate failed; `kind` is one of score.STATUSES' keys."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def enter(channel: int, device: str, clock: str) -> None:
    """Start in the jail (jailed.py): the socket is `channel`, the shared memory the descriptor behind it.

    Output goes to a file of the jail's own: nobody reads it, and a full pipe would stop an honest candidate.
    """
    folder = os.environ["TMPDIR"]
    tempfile.tempdir = folder
    os.environ.setdefault("TRITON_CACHE_DIR", f"{folder}/triton")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{folder}/inductor")
    sock = socket.socket(fileno=channel)
    wire.send(sock, {"hello": os.getpid()})
    log = os.open(f"{folder}/log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    serve(sock, channel + 1, device, clock)


def serve(sock: socket.socket, region: int, device: str, clock: str = "real") -> None:
    """Obey until the socket closes. region: file descriptor of the shared memory. device: "cpu" or "cuda"."""
    memory = mmap.mmap(region, 0)
    hands = _hands(device, clock, memory)
    whole = fingerprint()
    function: Any = None
    while True:
        try:
            order = wire.receive(sock)
        except wire.WireFault:
            os._exit(0)
        try:
            if order["op"] == "load":
                began = time.perf_counter()
                function = load(order)
                wire.send(sock, {"ok": True, "seconds": time.perf_counter() - began, "threads": census()})
            elif order["op"] == "call":
                wire.send(sock, hands.call(function, order, sock))
            elif order["op"] == "attach":
                wire.send(sock, hands.attach(order))
            elif order["op"] == "census":
                wire.send(sock, {"ok": True, "threads": census(), "facts": hands.facts(), "changed": changed(whole)})
            else:
                os._exit(0)
        except CandidateFault as fault:
            wire.send(sock, {"fault": fault.kind, "message": str(fault)[:4000]})


def _hands(device: str, clock: str, memory: mmap.mmap) -> Any:
    if device == "cuda":
        from evolve.evaluators.kernels.worker_cuda import CudaHands

        return CudaHands(memory)
    from evolve.evaluators.kernels.worker_cpu import CpuHands

    return CpuHands(memory, clock)


# ---- loading ---------------------------------------------------------------------------------------------------------


def load(order: dict[str, Any]) -> Any:
    """Write the sources to a private folder and load the entry point by explicit spec; its folder is never on sys.path.

    Raises CandidateFault ("parse", "compile", "crash", "hardware").
    """
    folder = Path(tempfile.mkdtemp(prefix="candidate-"))
    for name, text in order["files"].items():
        path = folder / name
        if (path.is_absolute() and folder not in path.parents) or ".." in Path(name).parts:
            raise CandidateFault("parse", f"source path {name!r} leaves the solution's folder")
        if Path(name).parts[0].partition(".")[0] in RESERVED:
            raise CandidateFault(
                "parse", f"source {name!r} bears the reserved name {Path(name).parts[0].partition('.')[0]!r}; rename it"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    file, _, name = order["entry"].partition("::")
    if file.endswith((".cu", ".cpp")):
        return _compile(folder, order, name)
    return _python(folder / file, name)


def _python(path: Path, name: str) -> Any:
    package = ModuleType(PACKAGE)
    package.__path__ = [str(path.parent)]
    sys.modules[PACKAGE] = package
    spec = importlib.util.spec_from_file_location(f"{PACKAGE}.{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise CandidateFault("parse", f"line {error.lineno}: {error.msg}") from error
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise CandidateFault(_kind(error), _trace(error)) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise CandidateFault("parse", f"{path.name} has no function {name!r}")
    return function


def _compile(folder: Path, order: dict[str, Any], name: str) -> Any:
    """CUDA C++ through torch's extension builder with allow-listed flags; the harness chooses the architecture (N9)."""
    from torch.utils import cpp_extension

    sources = [str(folder / path) for path in order["files"] if path.endswith((".cu", ".cpp"))]
    build = folder / "build"
    build.mkdir()
    try:
        module = cpp_extension.load(
            name=f"{PACKAGE}_{order['number']}",
            sources=sources,
            build_directory=str(build),
            verbose=False,
            extra_cuda_cflags=list(order.get("flags") or ["-O3"]),
            with_cuda=True,
        )
    except (RuntimeError, OSError, ImportError) as error:
        raise CandidateFault("compile", trimmed(str(error))) from error
    if not hasattr(module, name):
        raise CandidateFault("parse", f"the extension exports no {name!r}; bind it with PYBIND11_MODULE")
    return getattr(module, name)


def trimmed(log: str, lines: int = 30) -> str:
    """Compiler output cut to what matters: errors first, host paths shortened."""
    keep = [line for line in log.splitlines() if "error" in line.lower() or "undefined" in line.lower()]
    chosen = (keep or log.splitlines()[-lines:])[:lines]
    return "\n".join(_short(line) for line in chosen)


def _short(line: str) -> str:
    return " ".join(word.rpartition("/")[2] if word.startswith("/") else word for word in line.split(" "))[:400]


def _kind(error: BaseException) -> str:
    name = type(error).__name__
    if "OutOfMemory" in name or isinstance(error, MemoryError):
        return "memory"
    if name in ("CompilationError", "CompileTimeAssertionFailure", "PTXASError"):
        return "compile"
    if isinstance(error, ImportError) and any(word in str(error) for word in ("cutlass", "cuda.tile", "cutile")):
        return "hardware"
    return "crash"


def _trace(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "candidate-" in f.filename]
    where = "; ".join(f"{Path(f.filename).name}:{f.lineno} in {f.name}" for f in frames[-3:])
    return f"{type(error).__name__}: {str(error)[:1500]}" + (f" (at {where})" if where else "")


# ---- state -----------------------------------------------------------------------------------------------------------


def census() -> dict[str, Any]:
    """Threads and children of this process, by name (D12). A claim like all else here; the referee counts too."""
    tasks = []
    for task in os.listdir("/proc/self/task"):
        try:
            tasks.append(Path(f"/proc/self/task/{task}/comm").read_text().strip())
        except OSError:
            continue
    return {"os": sorted(tasks), "python": sorted(t.name for t in threading.enumerate())}


def fingerprint() -> dict[str, Any]:
    """Code of every function of the harness, and which functions of torch and time it relies on (D15)."""
    import torch

    found: dict[str, Any] = {}
    for name, module in list(sys.modules.items()):
        if name.startswith(("evolve.evaluators.kernels.w", "evolve.evaluators.timing.")):
            for key, value in vars(module).items():
                parts = vars(value).items() if isinstance(value, type) else [(key, value)]
                for part, function in parts:
                    if hasattr(function, "__code__"):
                        found[f"{name}.{key}.{part}"] = hash(function.__code__)
                    elif callable(function) and key.startswith("_"):
                        found[f"{name}.{key}.{part}"] = id(function)
    for owner, names in (
        (torch.Tensor, ("copy_", "contiguous", "data_ptr", "view")),
        (torch, ("equal", "empty")),
        (time, ("perf_counter",)),
    ):
        for name in names:
            found[f"{getattr(owner, '__name__', owner)}.{name}"] = getattr(owner, name)
    return found


def changed(before: dict[str, Any]) -> list[str]:
    """Names in `before` that are something else now."""
    now = fingerprint()
    return sorted(name for name, value in before.items() if now.get(name) != value)[:8]


class State:
    """Global state put back before each call (N7): backend flags, default dtype and device, gradients, seeds, environment."""

    def __init__(self) -> None:
        import torch

        self._torch = torch
        self._flags = self._read()
        self._environment = dict(os.environ)

    def _read(self) -> dict[str, Any]:
        torch = self._torch
        flags = {
            "matmul_precision": torch.get_float32_matmul_precision(),
            "dtype": torch.get_default_dtype(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        }
        matmul = torch.backends.cuda.matmul
        for name in (
            "allow_fp16_reduced_precision_reduction",
            "allow_bf16_reduced_precision_reduction",
            "allow_fp16_accumulation",
        ):
            if hasattr(matmul, name):
                flags[name] = getattr(matmul, name)
        return flags

    def lowered(self) -> list[str]:
        """Flags the candidate left changed."""
        return [f"{name}={value}" for name, value in self._read().items() if value != self._flags[name]]

    def reset(self, seed: int) -> None:
        torch = self._torch
        if self.lowered():
            self._restore()
        torch.set_grad_enabled(False)
        torch.manual_seed(seed)
        random.seed(seed)
        if dict(os.environ) != self._environment:
            os.environ.clear()
            os.environ.update(self._environment)

    def _restore(self) -> None:
        torch = self._torch
        torch.set_float32_matmul_precision(self._flags["matmul_precision"])
        torch.set_default_dtype(self._flags["dtype"])
        torch.use_deterministic_algorithms(self._flags["deterministic"])
        torch.backends.cudnn.allow_tf32 = self._flags["cudnn_tf32"]
        for name, value in self._flags.items():
            if name.startswith("allow_"):
                setattr(torch.backends.cuda.matmul, name, value)


def as_list(result: Any, names: list[str]) -> list[Any]:
    """What a solution returned, in output order (N: tensor, tuple, list or dict; scalars stay scalars)."""
    if isinstance(result, dict):
        return [result.get(name) for name in names]
    if isinstance(result, tuple | list):
        return list(result)
    return [result]


def structure(outputs: list[Any], wanted: list[Any], inputs: list[Any], tensor: Any, device: str) -> str:
    """The first structural fault of a call's outputs, "" for none (D1): count, exact type, attributes, device, storage."""
    if len(outputs) != len(wanted):
        return f"count: {len(outputs)} outputs, not {len(wanted)}"
    given = {x.untyped_storage().data_ptr() for x in inputs if type(x) is tensor and x.numel()}
    for x, (name, dtype, shape, *_) in zip(outputs, wanted, strict=True):
        if type(x) is not tensor:
            return f"structure: output {name!r} is a {type(x).__name__}, not a plain torch.Tensor"
        # torch.compile notes on a tensor which sizes it took for dynamic; any other name could stand before a method
        if odd := sorted(key for key in vars(x) if not key.startswith("_dynamo_")):
            return f"structure: output {name!r} carries attributes ({', '.join(odd)[:80]})"
        if x.device.type != device:
            return f"structure: output {name!r} is on {x.device.type}, not {device}"
        if list(x.shape) != list(shape):
            return f"shape: output {name!r} is {list(x.shape)}, not {list(shape)}"
        if str(x.dtype) != f"torch.{dtype}":
            return f"dtype: output {name!r} is {str(x.dtype).removeprefix('torch.')}, not {dtype}"
        if x.numel() and x.untyped_storage().data_ptr() in given:
            return f"structure: output {name!r} shares memory with an input"
        if any(stride == 0 and size > 1 for stride, size in zip(x.stride(), x.shape, strict=True)):
            return f"structure: output {name!r} is an expanded view"
        if x.requires_grad:
            return f"structure: output {name!r} still needs gradients"
    return ""


MODES = ("", "ghost", "profile")
"""How a call is made: as it is, with the candidate's own Triton kernels left out (D13), under torch's profiler."""


class Ghost:
    """Leaves out every launch of a Triton kernel within, and counts them. Works on the compiler and on the interpreter."""

    def __init__(self) -> None:
        self.launches = 0

    def __enter__(self) -> Ghost:
        from triton.runtime.jit import JITFunction

        self._patched: list[tuple[Any, str, Any]] = [(JITFunction, "run", JITFunction.run)]
        try:
            from triton.runtime.interpreter import GridExecutor

            self._patched.append((GridExecutor, "__call__", GridExecutor.__call__))
        except ImportError:
            pass  # a triton without an interpreter has nothing else to leave out

        def skipped(*args: Any, **kwargs: Any) -> None:
            self.launches += 1

        for owner, name, _ in self._patched:
            setattr(owner, name, skipped)
        return self

    def __exit__(self, *unused: Any) -> None:
        for owner, name, original in self._patched:
            setattr(owner, name, original)


OURS = ("gate", "seal", "veil")
"""Kernels of the harness, which a profile leaves out."""


def profiled(events: Any) -> dict[str, Any]:
    """Of a profile's events on the GPU: the span of the candidate's kernels in microseconds, and their names.

    The harness works before the gate and after the seal (resets, copies, checks): what began there is not the candidate's.
    """
    seen = [
        (e.time_range.start, e.time_range.end, e.name) for e in events if "CUDA" in str(getattr(e, "device_type", ""))
    ]
    first = min((start for start, _, name in seen if name == "gate"), default=-math.inf)
    last = max((end for _, end, name in seen if name == "seal"), default=math.inf)
    rows = [row for row in seen if row[2] not in OURS and first <= row[0] <= last]
    if not rows:
        return {"kernels": [], "profile_us": 0.0}
    span = max(end for _, end, _ in rows) - min(start for start, _, _ in rows)
    return {"kernels": sorted({name[:80] for *_, name in rows})[:16], "profile_us": float(span)}


def call_safely(function: Any, arguments: list[Any]) -> Any:
    """Call the candidate; whatever it raises becomes a CandidateFault."""
    if function is None:
        raise CandidateFault("crash", "no solution is loaded")
    try:
        return function(*arguments)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise CandidateFault(_kind(error), _trace(error)) from error
