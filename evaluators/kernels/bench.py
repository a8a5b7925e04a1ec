"""Where the referee makes inputs and reads outputs: on the CPU through shared memory, on a GPU through CUDA IPC or staging.

A bench knows nothing of timing rules. It hides nothing from the referee and shows the worker ciphertext only (GPU), or
the inputs at the moment of the call (CPU).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from evolve.evaluators.kernels import wire
from evolve.evaluators.kernels.definition import Problem, Workload
from evolve.evaluators.kernels.inputs import dtype_of
from evolve.evaluators.kernels.launch import Link
from evolve.tasks.errors import InfrastructureError

ALIGN = 512
LEAD = 0.05
"""Seconds a candidate may take to queue its work before the gate opens all the same (it waits for values on the host)."""


SPIN = 0.05
"""Seconds for which the referee looks at the seal's flag without a pause; a call that takes longer is timed by messages."""


@dataclass(frozen=True, slots=True)
class Watch:
    """The referee's clock over one call, seconds from the key's release (CPU: from the inputs being there).

    flag: until the seal's flag was seen (0.0: not seen). seen: until the outputs lay in memory of the referee's own, which
    nobody can have brought forward: before the release the inputs were not known. done: until the worker's last word.
    """

    flag: float = 0.0
    seen: float = 0.0
    done: float = 0.0


def layout(problem: Problem, workload: Workload) -> tuple[list[list[Any]], list[list[Any]], int]:
    """Rows of inputs and outputs [name, dtype, shape, offset, bytes] (scalars: [name]) and the total size in bytes."""
    sizes = problem.definition.sizes(workload.axes)
    at = 0
    tables: list[list[list[Any]]] = []
    for specs in (problem.definition.inputs, problem.definition.outputs):
        rows: list[list[Any]] = []
        for name, spec in specs.items():
            shape = problem.definition.shape(spec, sizes)
            if shape is None:
                rows.append([name])
                continue
            nbytes = problem.definition.nbytes(spec, sizes)
            rows.append(
                [name, {"float4_e2m1": "float4_e2m1fn_x2"}.get(spec.dtype, spec.dtype), list(shape), at, nbytes]
            )
            at += -(-max(nbytes, 1) // ALIGN) * ALIGN
        tables.append(rows)
    return tables[0], tables[1], at


def _bytes(x: torch.Tensor) -> torch.Tensor:
    return (
        x.detach().contiguous().view(-1).view(torch.uint8)
        if x.numel()
        else torch.empty(0, dtype=torch.uint8, device=x.device)
    )


class CpuBench:
    """Shared memory is filled when the worker is ready and read as soon as it is done."""

    device = "cpu"
    sms = 0

    def __init__(self, clock: str = "real") -> None:
        self.clock = clock

    def attach(self, link: Link, size: int) -> str:
        link.ask({"op": "attach", "size": size}, 30)
        return "staging"

    def facts(self) -> Mapping[str, str]:
        return {"torch": torch.__version__}

    def run(
        self,
        link: Link,
        order: dict[str, Any],
        rows: Sequence[Sequence[Any]],
        given: Mapping[str, Any],
        outs: Sequence[Sequence[Any]],
        poison: bytes,
        seconds: float,
    ) -> tuple[dict[str, Any], Watch, list[torch.Tensor]]:
        """One call: the worker's answer, our clock, and the outputs in memory of our own."""
        for _, _, _, offset, nbytes in outs:
            link.write(offset, (poison * (nbytes // len(poison) + 1))[:nbytes])
        answer = link.ask(order, seconds)
        if "ready" not in answer:
            return answer, Watch(), []
        for row in rows:
            if len(row) == 5 and row[4]:
                link.write(row[3], _bytes(given[row[0]]).numpy().tobytes())
        began = time.perf_counter()
        answer = link.ask({"go": order["n"]}, seconds)
        if "synced" not in answer:
            return answer, Watch(), []
        outputs = []
        for _, dtype, shape, offset, nbytes in outs:
            raw = torch.frombuffer(bytearray(link.read(offset, nbytes) or b"\0"), dtype=torch.uint8)[:nbytes]
            outputs.append(
                raw.view(dtype_of(dtype)).view(shape) if nbytes else torch.empty(shape, dtype=dtype_of(dtype))
            )
        seen = time.perf_counter() - began
        answer = link.ask({"taken": order["n"]}, seconds)
        return answer, Watch(0.0, seen, time.perf_counter() - began), outputs

    def close(self) -> None:
        pass


class CudaBench:
    """The referee's own context on the same GPU: idle whenever a worker's window is open."""

    device = "cuda"
    clock = "gate"

    def __init__(self, *, ipc: bool = True) -> None:
        from evolve.evaluators.timing.driver import Driver
        from evolve.evaluators.timing.gate import Gate

        torch.cuda.init()  # type: ignore[no-untyped-call]
        torch.zeros(1, device="cuda")
        self.driver = Driver()
        major, minor = torch.cuda.get_device_capability()
        self.gate = Gate(self.driver, f"sm_{major}{minor}", l2=1 << 16)
        self.sms, self.ipc = self.gate.blocks, ipc
        self._slabs: dict[int, tuple[int, int, str]] = {}

    def facts(self) -> Mapping[str, str]:
        return {"torch": torch.__version__, "cuda": str(torch.version.cuda), "gpu": torch.cuda.get_device_name()}

    def attach(self, link: Link, size: int) -> str:
        """Export a slab of plain driver memory (2 MiB multiples, nothing else shares it) or agree on staging."""
        need, size = size, -(-max(size, 1) // (2 << 20)) * (2 << 20)
        slab = self.driver.allocate(size)
        handle = self.driver.ipc_handle(slab).hex() if self.ipc else ""
        answer = link.ask({"op": "attach", "ipc": handle, "size": size}, 60)
        if "where" not in answer:
            raise InfrastructureError(f"a kernel worker could not attach: {answer}")
        if answer["where"] == "staging" and len(link.memory) < need:
            raise InfrastructureError(
                "CUDA IPC is refused here and the shared memory is too small for staging; spawn with the slab's size"
            )
        self._slabs[link.pid] = (slab, size, answer["where"])
        self.clock = "gate" if answer.get("gate") == "host" else "gate-local"
        return str(answer["where"])

    def detach(self, link: Link) -> None:
        slab, _, _ = self._slabs.pop(link.pid, (0, 0, ""))
        if slab:
            self.driver.free(slab)

    def run(
        self,
        link: Link,
        order: dict[str, Any],
        rows: Sequence[Sequence[Any]],
        given: Mapping[str, Any],
        outs: Sequence[Sequence[Any]],
        poison: bytes,
        seconds: float,
    ) -> tuple[dict[str, Any], Watch, list[torch.Tensor]]:
        """One call behind the gate. The key is released when the worker says it has queued, or after LEAD seconds."""
        slab, size, where = self._slabs[link.pid]
        view = _view(slab, size)
        key = order.pop("secret_key")
        stream = torch.cuda.current_stream().cuda_stream
        segments, keep = [], []
        for row in rows:
            if len(row) == 5 and row[4]:
                padded = torch.zeros(-(-row[4] // 4) * 4, dtype=torch.uint8, device="cuda")
                padded[: row[4]] = _bytes(given[row[0]])
                keep.append(padded)
                segments.append((padded.data_ptr(), slab + row[3], padded.numel() // 4, row[3] // 4))
        self.gate.veil(segments, key, stream)
        for _, _, _, offset, nbytes in outs:
            view[offset : offset + nbytes].random_(0, 256)
        torch.cuda.synchronize()
        if where == "staging":
            for row in rows:
                if len(row) == 5 and row[4]:
                    link.write(row[3], view[row[3] : row[3] + -(-row[4] // 4) * 4].cpu().numpy().tobytes())
        if self.clock == "gate-local":
            order["key"] = key
        answer = link.ask(order, seconds)
        if "ready" not in answer:
            return answer, Watch(), []
        queued = wire.ready(link.sock, LEAD)
        answer = wire.receive(link.sock, seconds) if queued else {}
        began = time.perf_counter()
        link.release(order["ticket"], key)  # after a fault too: the gate holds the card until then
        if "fault" in answer:
            return answer, Watch(), []
        answer, flag = watch(link, order["ticket"], began, seconds)
        if "synced" not in answer:
            return answer, Watch(flag), []
        if where == "staging":
            outputs = [
                torch.frombuffer(bytearray(link.read(o, n) or b"\0"), dtype=torch.uint8)[:n].cuda() for *_, o, n in outs
            ]
        else:
            outputs = [view[o : o + n].clone() for *_, o, n in outs]
        torch.cuda.synchronize()
        seen = time.perf_counter() - began
        answer = link.ask({"taken": order["n"]}, seconds)
        done = time.perf_counter() - began
        typed = [
            x.view(dtype_of(row[1])).view(row[2])
            if row[4]
            else torch.empty(row[2], dtype=dtype_of(row[1]), device="cuda")
            for x, row in zip(outputs, outs, strict=True)
        ]
        return answer, Watch(flag, seen, done), typed

    def close(self) -> None:
        for slab, _, _ in self._slabs.values():
            self.driver.free(slab)
        self._slabs.clear()


def watch(link: Link, ticket: int, began: float, seconds: float) -> tuple[dict[str, Any], float]:
    """Wait for the worker to say "synced" (or that it failed), looking at the seal's flag meanwhile.

    Returns its message and the seconds from `began` until the flag was seen (0.0: not before the message). Raises WireFault.
    """
    flag, looks, answer = 0.0, 0, {"queued": ticket}
    while "queued" in answer:
        while flag == 0.0 and time.perf_counter() - began < SPIN:
            if link.flagged(ticket):
                flag = time.perf_counter() - began
            looks += 1
            if looks % 64 == 0 and wire.ready(link.sock, 0):
                break
        answer = wire.receive(link.sock, seconds)
    return answer, flag


class _Raw:
    """Driver memory as torch sees it (the CUDA array interface)."""

    def __init__(self, pointer: int, size: int) -> None:
        self.__cuda_array_interface__ = {"shape": (size,), "typestr": "|u1", "data": (pointer, False), "version": 3}


def _view(pointer: int, size: int) -> torch.Tensor:
    return torch.as_tensor(_Raw(pointer, size), device="cuda")
