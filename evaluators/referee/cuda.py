"""The CUDA IPC channel: tensors in the referee's GPU memory, opened by the worker through handles.

Handles go from the referee to the worker only, as plain hex in JSON: the referee never opens one that a candidate made,
and nothing is unpickled. The worker can write to whatever it is given, so inputs are given as copies made for one call,
and outputs are copied before they are looked at. `expandable_segments` must be off in the referee.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evolve.evaluators.channel import Refused, Tensor

Handle = dict[str, Any]
"""What opens one tensor in another process: plain JSON."""


def share(tensor: Any) -> Handle:
    """The handle of a contiguous CUDA tensor. The tensor must stay alive until the worker has ended."""
    storage = tensor.untyped_storage()
    device, handle, size, offset, counter, counter_at, event, synced = storage._share_cuda_()
    return {
        "device": device, "handle": handle.hex(), "size": size, "offset": offset, "counter": counter.hex(),
        "counter_at": counter_at, "event": event.hex(), "synced": synced, "dtype": str(tensor.dtype).removeprefix("torch."),
        "shape": list(tensor.shape), "at": tensor.storage_offset(),
    }  # fmt: skip


def attach(handle: Handle) -> Any:
    """The worker's end: a tensor over the referee's memory. Raises RuntimeError where CUDA refuses."""
    import torch

    storage = torch.UntypedStorage._new_shared_cuda(
        handle["device"], bytes.fromhex(handle["handle"]), handle["size"], handle["offset"],
        bytes.fromhex(handle["counter"]), handle["counter_at"], bytes.fromhex(handle["event"]), handle["synced"],
    )  # fmt: skip
    dtype = getattr(torch, handle["dtype"])
    return torch.tensor([], dtype=dtype, device=storage.device).set_(storage, handle["at"], handle["shape"])  # type: ignore[call-overload]


class Buffers:
    """Output tensors of the referee's that a worker fills: allocated, poisoned with NaN, copied and checked here."""

    def __init__(self, expected: Mapping[str, Tensor], device: int = 0) -> None:
        import torch

        self.expected = dict(expected)
        self.tensors = {
            name: torch.empty(want.shape, dtype=getattr(torch, want.dtype), device=f"cuda:{device}")
            for name, want in self.expected.items()
        }

    def handles(self) -> dict[str, Handle]:
        return {name: share(tensor) for name, tensor in self.tensors.items()}

    def poison(self) -> None:
        """NaN in floating tensors, all bits set in others."""
        import torch

        for tensor in self.tensors.values():
            tensor.view(torch.uint8).fill_(255)
        torch.cuda.synchronize()

    def take(self) -> dict[str, Any]:
        """Copies, after everything on the device has ended. Raises Refused on NaN or infinity where none may be."""
        import torch

        torch.cuda.synchronize()
        out = {name: tensor.clone() for name, tensor in self.tensors.items()}
        torch.cuda.synchronize()
        for name, tensor in out.items():
            if not self.expected[name].any_value and tensor.dtype.is_floating_point and not bool(tensor.isfinite().all()):
                raise Refused(f"tensor {name!r} holds NaN or infinity")
        return out


def serve_cuda(channel: int, target: str) -> None:
    """The worker's loop: the first frame holds handles, each later one asks for a call, as in `harness.serve_shared`."""
    import socket

    import torch

    from evolve.evaluators.channel import pack
    from evolve.evaluators.referee.harness import _receive
    from evolve.evaluators.sandbox.worker import load

    connection = socket.socket(fileno=channel)
    opening = _receive(connection)
    given = {name: attach(handle) for name, handle in opening["inputs"].items()}
    wanted = {name: attach(handle) for name, handle in opening["outputs"].items()}
    function = load(target)
    connection.sendall(pack({"ready": True}))
    while (order := _receive(connection)) is not None:
        result = function(**given)
        if not isinstance(result, dict):
            (only,) = wanted
            result = {only: result}
        for name, tensor in wanted.items():
            tensor.copy_(result[name])
        torch.cuda.synchronize()
        connection.sendall(pack({"done": order["call"]}))
