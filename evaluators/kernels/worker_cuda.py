"""One call on a GPU: inputs veiled until the clock runs, the candidate queued behind a gate, outputs sealed after it.

Order on the device (evaluators/timing/gate.py): gate (waits for the referee's key, decrypts the inputs, refills L2) ->
start event -> the candidate's launches -> end event -> seal (stamps stragglers, copies the outputs to the referee, sets
the referee's flag). Then the worker says "synced" and keeps the card idle until the referee has the outputs.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import mmap
import random
import socket
import struct
import sys
import time
from typing import Any

import torch

from evolve.evaluators.kernels import wire
from evolve.evaluators.kernels.placement import Places
from evolve.evaluators.kernels.streams import Streams, handles
from evolve.evaluators.kernels.wire import FLAG
from evolve.evaluators.kernels.worker import Ghost, State, as_list, call_safely, profiled, structure
from evolve.evaluators.timing.driver import CudaError, Driver
from evolve.evaluators.timing.gate import Gate

_now, _Tensor, _empty = time.perf_counter, torch.Tensor, torch.empty
GUARD = 256
BANDS = 2 * GUARD + 64 * 256 + 8
"""Bytes a tensor takes beside its own: a guard band at each end, a shift, rounding."""


class CudaHands:
    """Memory of this worker's context. `control`: the first page of the shared memory, mapped into the GPU."""

    def __init__(self, memory: mmap.mmap) -> None:
        self.memory = memory
        torch.cuda.init()  # type: ignore[no-untyped-call]
        torch.zeros(1, device="cuda")
        self.driver = Driver()
        major, minor = torch.cuda.get_device_capability()
        self.gate = Gate(self.driver, f"sm_{major}{minor}")
        self.start, self.end = self.driver.event(), self.driver.event()
        self.state = State()
        self.slab, self.where = 0, "staging"
        self.places = Places()
        self.streams = Streams(self.driver, handles())
        self.kept: list[Any] | None = None
        self.own: torch.Tensor | None = None
        self.notes: list[str] = []
        self.trials = 0
        self._profiler: Any = None
        self.control = self._map_control()
        try:
            self.driver.forbid_persisting_l2()
        except CudaError as error:
            self.notes.append(f"persisting L2: {error}")

    def _map_control(self) -> int:
        """Device address of two host words the referee writes; 0 where host memory cannot be mapped."""
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        try:
            return self.driver.register_host(address, mmap.PAGESIZE)
        except CudaError as error:
            self.notes.append(f"control page: {error}")
            return 0

    def attach(self, order: dict[str, Any]) -> dict[str, Any]:
        """Open the referee's exported memory, or make own memory for staging where IPC is refused."""
        if order.get("ipc"):
            try:
                self.slab = self.driver.ipc_open(bytes.fromhex(order["ipc"]))
                self.where = "ipc"
                return {"ok": True, "where": "ipc", "gate": "host" if self.control else "local", "notes": self.notes}
            except CudaError as error:
                self.notes.append(f"ipc: {error}")
        self.own = _empty(order["size"], dtype=torch.uint8, device="cuda")
        self.slab, self.where = self.own.data_ptr(), "staging"
        return {"ok": True, "where": "staging", "gate": "host" if self.control else "local", "notes": self.notes}

    def facts(self) -> dict[str, Any]:
        import triton

        free, total = torch.cuda.mem_get_info()
        return {
            "device": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "triton": triton.__version__,
            "cuda": torch.version.cuda,
            "free": free,
            "total": total,
            "notes": self.notes,
            "sms": self.gate.blocks,
            "kernels": compiled_kernels(),
        }

    def call(self, function: Any, order: dict[str, Any], sock: socket.socket) -> dict[str, Any]:
        marks = [_now()]
        self.state.reset(order["seed"])
        self.kept = None
        if self.where == "staging":
            self._stage_in(order)
        tensors = [row for row in order["inputs"] if len(row) == 5]
        self.places.begin(order["seed"], sum(row[4] + BANDS for row in tensors))
        inputs, segments, guards = self._inputs(order)
        self.places.fill([] if order.get("passing") else [row[4] for row in order["outputs"]])
        outputs = (
            [self._blank(dtype, shape)[0] for _, dtype, shape, *_ in order["outputs"]] if order.get("passing") else []
        )
        self._reset_l2()
        self._profiler = None
        if order.get("mode") == "profile":
            self._profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
            self._profiler.__enter__()
        marks.append(_now())
        self.gate.prepare()
        stream = torch.cuda.current_stream().cuda_stream
        self.driver.synchronize()
        control = self.control or self._local_key(order)
        self.gate.open(control, order["ticket"], segments, stream, order.get("patience", 4.0))
        self.driver.record(self.start, stream)
        self.streams.begin(self.start)
        wire.send(sock, {"ready": order["n"]})
        began = _now()
        marks.append(began)
        ghost, profile = self._mode(str(order.get("mode", "")))
        with ghost or contextlib.nullcontext():
            result = call_safely(function, [*inputs, *outputs])
        self.streams.join(stream)
        self.driver.record(self.end, stream)
        answers = outputs or as_list(result, [row[0] for row in order["outputs"]])
        fault = structure(answers, order["outputs"], [] if outputs else inputs, _Tensor, "cuda")
        self._seal(answers, order, stream, fault)
        marks.append(_now())
        wire.send(sock, {"queued": order["n"], "us": (marks[-1] - began) * 1e6})
        self.driver.synchronize()
        marks.append(_now())
        if self.where == "staging" and not fault:
            self._stage_out(order)
        wire.send(sock, {"synced": order["n"]})
        wire.receive(sock)  # the referee has taken the outputs: only now may this context use the card again
        marks.append(_now())
        seconds = self.driver.elapsed(self.start, self.end)
        stamps = self.gate.stamps()
        self.places.free()
        notes, sums = self._checked(inputs, order, guards)
        self.kept = answers
        marks.append(_now())
        return {
            "done": order["n"],
            "us": seconds * 1e6,
            "structure": fault,
            "notes": notes,
            "sums": sums,
            "spent": [round((b - a) * 1e6) for a, b in itertools.pairwise(marks)],
            "flags": self.state.lowered(),
            "opened": stamps.opened,
            "held": stamps.held,
            "late_us": stamps.late * 1e-3,
            "span_us": stamps.span * 1e-3,
            **({"launches": ghost.launches} if ghost else {}),
            **self._profile(profile),
        }

    def _reset_l2(self) -> None:
        """No persisting lines (N7). The reset itself waits for the card, so it comes only where the limit was raised again."""
        try:
            if self.driver.persisting_l2():
                self.driver.reset_persisting_l2()
                self.driver.forbid_persisting_l2()
        except CudaError as error:
            self.notes = [*self.notes[:8], f"reset persisting L2: {error}"]

    def _mode(self, mode: str) -> tuple[Ghost | None, Any]:
        """What goes around the call: skipped launches, or a profiler that has begun (it must begin before the gate's wait)."""
        if mode == "ghost":
            return Ghost(), None
        return None, self._profiler

    def _profile(self, profile: Any) -> dict[str, Any]:
        if profile is None:
            return {}
        self._profiler = None
        profile.__exit__(None, None, None)
        return profiled(profile.events())

    def _local_key(self, order: dict[str, Any]) -> int:
        """Without a mapped control page the key comes with the order (weaker: the worker could read it early)."""
        words = torch.tensor([order["ticket"], _signed(order["key"])], dtype=torch.int64, device="cuda")
        self._words = words
        return int(words.data_ptr())

    def _inputs(
        self, order: dict[str, Any]
    ) -> tuple[list[Any], list[tuple[int, int, int, int]], list[tuple[torch.Tensor, int]]]:
        """Poisoned buffers at fresh addresses; the gate will decrypt into them."""
        stream = random.Random(order["seed"])
        values: list[Any] = []
        segments: list[tuple[int, int, int, int]] = []
        guards: list[tuple[torch.Tensor, int]] = []
        for row in order["inputs"]:
            if len(row) == 2:
                values.append(row[1])
                continue
            _, dtype, shape, offset, nbytes = row
            x, band, fill = self._blank(dtype, shape, 256 * stream.randrange(64), stream.randrange(1, 127))
            values.append(x)
            guards.append((band, fill))
            if nbytes:
                segments.append((self.slab + offset, x.data_ptr(), -(-nbytes // 4), offset // 4))
        return values, segments, guards

    def _blank(
        self, dtype: str, shape: list[int], shift: int = 0, fill: int = 0x5A
    ) -> tuple[torch.Tensor, torch.Tensor, int]:
        """A tensor between guard bands. Only the bands and not the body are filled where the body is large."""
        kind = getattr(torch, dtype)
        nbytes = kind.itemsize
        for size in shape:
            nbytes *= size
        raw = self.places.take(shift + nbytes + 2 * GUARD + 8)
        raw[: shift + GUARD].fill_(fill)
        raw[shift + GUARD + nbytes + 4 :].fill_(fill)
        body = raw[shift + GUARD : shift + GUARD + nbytes]
        body.fill_(0xFF if kind.is_floating_point else fill)
        return body.view(kind).view(shape), raw[: shift + GUARD], fill

    def _seal(self, answers: list[Any], order: dict[str, Any], stream: int, fault: str) -> None:
        flag = self.control + FLAG if self.control else 0
        if fault:
            self.gate.close([], stream, flag, order["ticket"])
            return
        plain = all(x.is_contiguous() for x in answers)
        if not plain:
            self.gate.close([], stream, flag, order["ticket"])
            answers = [x.contiguous() for x in answers]
        rows = [
            (x.data_ptr(), self.slab + row[3], row[4], 0)
            for x, row in zip(answers, order["outputs"], strict=True)
            if row[4]
        ]
        self.kept = answers
        if plain:
            self.gate.close(rows, stream, flag, order["ticket"])
        else:
            for x, row in zip(answers, order["outputs"], strict=True):
                if row[4]:
                    self._copy_out(x, row)

    def _copy_out(self, x: torch.Tensor, row: list[Any]) -> None:
        self.driver.call(
            "cuMemcpyDtoDAsync_v2",
            ctypes.c_uint64(self.slab + row[3]),
            ctypes.c_uint64(x.data_ptr()),
            ctypes.c_size_t(row[4]),
            ctypes.c_void_p(torch.cuda.current_stream().cuda_stream),
        )

    def _checked(
        self, inputs: list[Any], order: dict[str, Any], guards: list[tuple[torch.Tensor, int]]
    ) -> tuple[list[str], dict[str, int]]:
        """What was overwritten (guard bands), and the inputs' checksums, which the referee compares with its own."""
        rows = [i for i, row in enumerate(order["inputs"]) if len(row) == 5 and row[4]]
        broken = [(band != fill).sum() for band, fill in guards]
        parts = [part for i in rows for part in checksum(inputs[i])]
        found = torch.stack([*broken, *parts]).tolist() if broken or parts else []
        notes = [f"guard band of input {i} was overwritten" for i, count in enumerate(found[: len(broken)]) if count]
        rest = found[len(broken) :]
        return notes, {str(i): whole(rest[SUMS * k : SUMS * k + SUMS]) for k, i in enumerate(rows)}

    def _stage_in(self, order: dict[str, Any]) -> None:
        for row in order["inputs"]:
            if len(row) == 5 and row[4]:
                self._move(row[3], -(-row[4] // 4) * 4, into=True)

    def _stage_out(self, order: dict[str, Any]) -> None:
        for row in order["outputs"]:
            if row[4]:
                self._move(row[3], row[4], into=False)

    def _move(self, offset: int, nbytes: int, *, into: bool) -> None:
        host = torch.frombuffer(self.memory, dtype=torch.uint8, count=nbytes, offset=mmap.PAGESIZE + offset)
        assert self.own is not None
        device = self.own[offset : offset + nbytes]
        if into:
            device.copy_(host)
        else:
            host.copy_(device)


def compiled_kernels() -> list[dict[str, Any]]:
    """Registers, spills and shared memory of the candidate's Triton kernels, as the compiler and driver report them."""
    from triton.runtime.jit import JITFunction

    from evolve.evaluators.kernels.worker import PACKAGE

    found: list[dict[str, Any]] = []
    for name, module in list(sys.modules.items()):
        if not name.startswith(PACKAGE):
            continue
        for function in [f for f in vars(module).values() if isinstance(f, JITFunction)]:
            for cache in getattr(function, "device_caches", {}).values():
                for kernel in list(cache[0].values())[:4]:
                    found.append(
                        {
                            "name": function.__name__,
                            "registers": getattr(kernel, "n_regs", None),
                            "spills": getattr(kernel, "n_spills", None),
                            "shared": getattr(getattr(kernel, "metadata", None), "shared", None),
                            "warps": getattr(getattr(kernel, "metadata", None), "num_warps", None),
                        }
                    )
    return found[:16]


SUMS = 3


def checksum(x: torch.Tensor) -> list[torch.Tensor]:
    """Sums of a tensor's 32-bit words, of every seventh, and of the bytes left over: int64 scalars still on the device."""
    raw = x.contiguous().view(-1).view(torch.uint8)
    words = raw[: raw.numel() // 4 * 4]
    words = (words if words.data_ptr() % 4 == 0 else words.clone()).view(torch.int32)
    rest = raw[words.numel() * 4 :]
    return [part.sum(dtype=torch.int64) for part in (words, words[::7], rest)]


def whole(sums: list[int]) -> int:
    """One number of a checksum's parts; both sides compute it."""
    return (sums[0] + sums[2]) * 1_000_003 + sums[1]


def _signed(value: int) -> int:
    return int(struct.unpack("<q", struct.pack("<Q", value))[0])
