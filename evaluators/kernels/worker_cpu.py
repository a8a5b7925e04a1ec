"""One call on the CPU: the protocol's test bed. Clock "real" is perf_counter; "work" counts bytes (deterministic)."""

from __future__ import annotations

import contextlib
import mmap
import random
import socket
import time
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from evolve.evaluators.kernels import wire
from evolve.evaluators.kernels.worker import Ghost, State, as_list, call_safely, structure

_now, _Tensor, _empty = time.perf_counter, torch.Tensor, torch.empty
GUARD = 256
PAGE = mmap.PAGESIZE


class WorkClock(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A simulated clock: 2 us an operation and 1 us a 100 kB moved by torch operations or Triton launches."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seconds = 0.0

    def charge(self, values: Any) -> None:
        moved = sum(x.numel() * x.element_size() for x in values if isinstance(x, torch.Tensor))
        self.seconds += 2e-6 + moved * 1e-11

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        flat = result if isinstance(result, tuple | list) else (result,)
        self.charge([*args, *flat])
        return result


class CpuHands:
    """Buffers at fresh addresses, guard bands, poison, a clock."""

    def __init__(self, memory: mmap.mmap, clock: str) -> None:
        torch.set_num_threads(1)
        self.memory, self.clock = memory, clock
        self.state = State()
        self.kept: Any = None

    def attach(self, order: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True, "where": "staging"}

    def facts(self) -> dict[str, Any]:
        return {"device": "cpu", "torch": torch.__version__}

    def call(self, function: Any, order: dict[str, Any], sock: socket.socket) -> dict[str, Any]:
        self.state.reset(order["seed"])
        poison = bytearray(random.Random(order["seed"]).randbytes(4096))
        wire.send(sock, {"ready": order["n"]})
        wire.receive(sock)
        inputs, guards = self._inputs(order, poison)
        outputs = (
            [self._blank(dtype, shape, poison)[0] for _, dtype, shape, *_ in order["outputs"]]
            if order.get("passing")
            else []
        )
        copies = [x.clone() if isinstance(x, torch.Tensor) else x for x in inputs]
        ghost = Ghost() if order.get("mode") == "ghost" else None
        with ghost or contextlib.nullcontext():
            seconds, result = self._time(function, [*inputs, *outputs])
        answers = outputs or as_list(result, [row[0] for row in order["outputs"]])
        fault = structure(answers, order["outputs"], [] if outputs else inputs, _Tensor, "cpu")
        if not fault:
            for x, (_, _, _, offset, nbytes) in zip(answers, order["outputs"], strict=True):
                raw = (
                    x.detach().contiguous().view(-1).view(torch.uint8)
                    if x.numel()
                    else x.new_empty(0, dtype=torch.uint8)
                )
                self.memory[PAGE + offset : PAGE + offset + nbytes] = raw.numpy().tobytes()
        wire.send(sock, {"synced": order["n"]})
        wire.receive(sock)
        notes = [
            f"input {i} was changed" for i, (x, y) in enumerate(zip(inputs, copies, strict=True)) if _differs(x, y)
        ]
        if any(band.numpy().tobytes() != pattern for band, pattern in guards):
            notes.append("a guard band was overwritten")
        self.kept = answers
        return {
            "done": order["n"],
            "us": seconds * 1e6,
            "structure": fault,
            "notes": notes,
            "flags": self.state.lowered(),
            **({"launches": ghost.launches} if ghost else {}),
        }

    def _time(self, function: Any, arguments: list[Any]) -> tuple[float, Any]:
        if self.clock == "real":
            began = _now()
            result = call_safely(function, arguments)
            return _now() - began, result
        with WorkClock() as clock, _triton_charged(clock):
            result = call_safely(function, arguments)
        return clock.seconds, result

    def _inputs(self, order: dict[str, Any], poison: bytearray) -> tuple[list[Any], list[tuple[torch.Tensor, bytes]]]:
        """Tensors copied from shared memory to new allocations at a random multiple of 64 bytes, between guard bands."""
        stream = random.Random(order["seed"])
        values: list[Any] = []
        guards: list[tuple[torch.Tensor, bytes]] = []
        for row in order["inputs"]:
            if len(row) == 2:
                values.append(row[1])
                continue
            _, dtype, shape, offset, nbytes = row
            x, band = self._blank(dtype, shape, poison, 64 * stream.randrange(64))
            if nbytes:
                x.view(-1).view(torch.uint8).copy_(
                    torch.frombuffer(self.memory, dtype=torch.uint8, count=nbytes, offset=PAGE + offset)
                )
            values.append(x)
            guards.append((band, band.numpy().tobytes()))
        return values, guards

    def _blank(
        self, dtype: str, shape: list[int], poison: bytearray, shift: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        kind = getattr(torch, dtype)
        nbytes = kind.itemsize
        for size in shape:
            nbytes *= size
        raw = _empty(shift + nbytes + 2 * GUARD, dtype=torch.uint8)
        pattern = torch.frombuffer(poison, dtype=torch.uint8)
        repeats = -(-raw.numel() // pattern.numel())
        raw.copy_(pattern.repeat(repeats)[: raw.numel()])
        start = -(-(raw.data_ptr() + GUARD + shift) // 64) * 64 - raw.data_ptr()
        start = min(start, raw.numel() - nbytes)
        start -= start % kind.itemsize
        return raw[start : start + nbytes].view(kind).view(shape), raw[:start]


def _differs(x: Any, y: Any) -> bool:
    if not isinstance(x, torch.Tensor) or not x.numel():
        return False
    return not torch.equal(x.contiguous().view(-1).view(torch.uint8), y.contiguous().view(-1).view(torch.uint8))


class _triton_charged:
    """Charges interpreted Triton launches to the work clock."""

    def __init__(self, clock: WorkClock) -> None:
        self.clock = clock

    def __enter__(self) -> None:
        try:
            from triton.runtime.interpreter import GridExecutor
        except ImportError:
            self.original = None
            return
        self.original, clock = GridExecutor.__call__, self.clock
        original = self.original

        def charged(executor: Any, *args: Any, **kwargs: Any) -> Any:
            before = clock.seconds
            result = original(executor, *args, **kwargs)
            clock.seconds = before
            clock.charge(args)
            return result

        GridExecutor.__call__ = charged

    def __exit__(self, *unused: Any) -> None:
        if self.original is not None:
            from triton.runtime.interpreter import GridExecutor

            GridExecutor.__call__ = self.original
