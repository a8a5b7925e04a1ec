"""Inside the jail: runs a candidate's `train(feed, budget)`, or its model over rows the referee gives.

The candidate can do to this process whatever it likes. So nothing here is a check: the clock, the data, the seeds and
the loss are the referee's (supervisor.py); what this process says is a claim. What a candidate supplies:

    build_model(config) -> torch.nn.Module      its forward(tokens [B, T] int64) -> logits [B, T, V]
    train(feed, budget) -> torch.nn.Module      a trained model whose state fits into a new build_model(config)
    plan(config) -> int                         tokens it will train on (speedrun only; said before the clock starts)

feed.config is the configuration; feed.next(rows) -> (inputs, targets) int64 [rows, T] on the device, or None when all
is served; budget.progress() in 0..1; budget.done(); budget.log(loss) for the live curve.
"""

from __future__ import annotations

import itertools
import math
import mmap
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from evolve.evaluators.sandbox.worker import load
from evolve.evaluators.training import cuda_ipc, wire
from evolve.evaluators.training.wire import Line

REHEARSAL_BATCHES = {"cuda": 4, "cpu": 2}
"""Batches of dummy tokens a rehearsal serves; its progress goes from 0 to 1 over them."""

MARGIN = 0.25
"""Seconds kept for handing in the state, beside what that took in the rehearsal."""

Config = Mapping[str, Any]


# ---- what a candidate works with -------------------------------------------------------------------------------------


class _Staging:
    """Host rows to the device: pinned where there is a GPU, a buffer used again only when its copy has ended."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._buffers: dict[int, list[tuple[Any, Any]]] = {}
        self._turn = itertools.count()

    def __call__(self, rows: Any) -> tuple[Any, Any]:
        import torch

        if self.device == "cpu":
            whole = torch.from_numpy(rows.astype("int64"))
            return whole[:, :-1].contiguous(), whole[:, 1:].contiguous()
        ring = self._buffers.setdefault(len(rows), [])
        if len(ring) < 3:
            ring.append((torch.empty(rows.shape, dtype=torch.int32, pin_memory=True), torch.cuda.Event()))  # type: ignore[no-untyped-call, unused-ignore]
        buffer, event = ring[next(self._turn) % len(ring)]
        event.synchronize()
        buffer.numpy()[:] = rows
        whole = buffer.to(self.device, non_blocking=True)
        event.record()
        whole = whole.long()
        return whole[:, :-1].contiguous(), whole[:, 1:].contiguous()


class Feed:
    """Packed batches in the served order. `served`: tokens so far, of all ranks."""

    def __init__(self, config: Config, ask: Callable[[int], Any]) -> None:
        self.config = dict(config)
        self.served = 0
        self.intervals: list[float] = []
        self._asked = time.monotonic()
        self._ask, self._stage = ask, _Staging(config["device"])

    def next(self, rows: int) -> tuple[Any, Any] | None:
        """(inputs, targets), int64 [rows, T] each, on the device; None when everything is served."""
        if not 1 <= rows <= self.config["max_rows"]:
            raise ValueError(f"a batch has 1 to {self.config['max_rows']} rows, not {rows}")
        batch = self._ask(rows)
        if batch is None:
            return None
        now = time.monotonic()
        self.intervals = [*self.intervals[-7:], now - self._asked] if self.served else []
        self._asked = now
        self.served += rows * self.config["sequence_length"] * self.config["world_size"]
        return self._stage(batch)


class Budget:
    """How much of the budget is used, as far as this process knows; the referee's clock decides.

    A program that trusts `done()` hands in its state in time: what that and one more step take is left over, if the
    program lets the device run ahead by no more than a step.
    """

    def __init__(self, feed: Feed, seconds: float | None, tokens: int | None, reserve: float) -> None:
        self._feed, self._tokens = feed, tokens
        self._seconds, self._reserve = seconds, reserve
        self._began = time.monotonic()
        self.pending: list[float] = []

    def progress(self) -> float:
        """0 at the start, 1 when training must end."""
        shares = []
        if self._seconds is not None:
            step = max(self._feed.intervals, default=0.0)  # another one must still fit
            shares.append((time.monotonic() - self._began) / max(self._seconds - self._reserve - step, 1e-9))
        if self._tokens:
            shares.append(self._feed.served / self._tokens)
        return min(max(shares, default=0.0), 1.0)

    def done(self) -> bool:
        return self.progress() >= 1.0

    def log(self, loss: float) -> None:
        """A training loss for the live curve (nats a token). It can end a hopeless run early and nothing else."""
        if not math.isfinite(loss):
            raise FloatingPointError(f"the training loss became {loss}")
        if len(self.pending) < 200:
            self.pending.append(float(loss))


def _rehearsal(config: Config, tokens: int | None) -> tuple[Feed, Budget]:
    """Dummy tokens, uniformly random, so that everything is compiled and nothing is learnt before the clock starts."""
    import numpy

    random = numpy.random.default_rng()
    batches = REHEARSAL_BATCHES[config["device"]]
    left = iter(range(batches))

    def ask(rows: int) -> Any:
        if next(left, None) is None:
            return None
        return random.integers(0, config["vocab_size"], (rows, config["sequence_length"] + 1), dtype="uint16")

    feed = Feed(config, ask)
    budget = Budget(feed, None, None, 0.0)
    count = itertools.count()
    budget.progress = lambda: min(next(count) / (2 * batches), 1.0)  # type: ignore[method-assign]
    return feed, budget


# ---- training --------------------------------------------------------------------------------------------------------


def train(fd: int, spec: Mapping[str, Any]) -> None:
    """The trainer: rehearse, wait for GO, train, hand in the state."""
    line = Line(fd)
    _, _, (ring_fd, state_fd) = line.receive(descriptors=2)
    ring = mmap.mmap(ring_fd, spec["ring"], prot=mmap.PROT_READ)
    state = mmap.mmap(state_fd, spec["state"])
    world = spec["config"]["world_size"]
    if world == 1:
        _rank(line, ring, state, spec, dict(spec["config"]))
    else:
        _ranks(line, ring, state, spec, world)


def _rank(line: Line, ring: mmap.mmap, state: mmap.mmap, spec: Mapping[str, Any], config: dict[str, Any]) -> None:
    import gc

    import torch

    began = time.monotonic()
    phases: dict[str, float] = {}

    def mark(name: str) -> None:
        phases[name] = round(time.monotonic() - began - sum(phases.values()), 3)

    gc.freeze()  # what there was before the program: looking for its parameters need not go through that
    torch.set_num_threads(spec["threads"])
    if config["device"] == "cuda":
        _start_compilers()
        torch.cuda.set_device(config["rank"])
        torch.zeros(1, device="cuda")
    mark("device")
    program = load(f"{spec['entry']}:train")
    planned = load_again(spec["entry"], "plan")(dict(config)) if spec["plan"] else None
    _seed(config["seed"])
    reserve = 0.0
    mark("program")
    if spec["rehearse"]:
        feed, budget = _rehearsal(config, planned)
        before = {id(tensor) for tensor in _parameters()}
        model = program(feed, budget)
        mark("rehearsal")
        writing = time.monotonic()
        if config["rank"] == 0:
            _write(model, state)
        reserve = 2 * (time.monotonic() - writing) + MARGIN
        mark("state")
        del model, feed, budget
        _forget(before)
        _collect(config["device"])
        mark("forget")
    line.send({"ready": planned, "phases": phases})
    line.receive()
    _seed(config["seed"])
    budget_of: list[Budget] = []

    def ask(rows: int) -> Any:
        log, budget_of[0].pending = budget_of[0].pending, []
        line.send({"next": rows, "log": log})
        answer, _, _ = line.receive()
        return None if answer.get("end") else _slot(ring, spec, answer["slot"], rows)

    feed = Feed(config, ask)
    budget_of.append(Budget(feed, config["seconds"], planned or config["tokens"], reserve))
    model = program(feed, budget_of[0])
    if config["rank"] == 0:
        line.send({"state": _write(model, state), "log": budget_of[0].pending})
    else:
        line.send({"finished": True})


def _start_compilers() -> None:
    """Start torch's pool of compiler processes now, beside what else a start takes."""
    from torch._inductor.async_compile import AsyncCompile

    AsyncCompile.warm_pool()


def load_again(entry: str, name: str) -> Any:
    """Another function of a file that `load` imported."""
    import sys

    module = sys.modules[os.path.splitext(os.path.basename(entry))[0]]
    function = getattr(module, name, None)
    if not callable(function):
        raise AttributeError(f"{entry} has no function {name!r}")
    return function


def _slot(ring: mmap.mmap, spec: Mapping[str, Any], slot: int, rows: int) -> Any:
    import numpy

    width = spec["config"]["sequence_length"] + 1
    at = slot * (spec["ring"] // wire.SLOTS)
    return numpy.frombuffer(ring, dtype="uint16", count=rows * width, offset=at).reshape(rows, width).copy()


def _seed(seed: int) -> None:
    import random

    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed & 0xFFFFFFFF)
    torch.manual_seed(seed)


def _parameters() -> list[Any]:
    """Every trainable tensor alive in this process."""
    import gc

    import torch

    # by type, not isinstance: that asks a dead weak proxy, of which torch leaves some, for its class
    tensors = (item for item in gc.get_objects() if issubclass(type(item), torch.Tensor))
    return [item for item in tensors if item.requires_grad and item.is_leaf]


def _forget(before: set[int]) -> None:
    """What the rehearsal made may not be trained on: parameters still held by the program become NaN."""
    import torch

    with torch.no_grad():
        for tensor in _parameters():
            if id(tensor) not in before:
                tensor.fill_(math.nan)


def _collect(device: str) -> None:
    import gc

    import torch

    gc.collect()
    if device != "cpu":
        torch.cuda.synchronize()  # its memory stays with the allocator: asking again would cost time that counts


def _write(model: Any, state: mmap.mmap) -> int:
    """The model's state into shared memory; how many bytes. Raises TypeError, ValueError for what cannot cross."""
    import numpy
    import torch

    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"train(feed, budget) must return a torch.nn.Module, not {type(model).__name__}")
    tensors = dict(model.state_dict())
    kinds = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()}
    if odd := next((name for name, kind in kinds.items() if kind not in wire.ITEM), None):
        raise TypeError(f"tensor {odd!r} of the state is {kinds[odd]}; allowed: {', '.join(wire.ITEM)}")
    entries = [(name, kinds[name], tuple(tensor.shape)) for name, tensor in tensors.items()]
    size = wire.state_size(entries)
    if size > len(state):
        raise ValueError(f"the trained state has {size} bytes, {len(state)} are allowed")
    header = wire.header_bytes(entries)
    state[: len(header)] = header
    at = len(header)
    for tensor in tensors.values():
        count = tensor.numel() * tensor.element_size()
        if count:
            raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8).cpu().numpy()
            numpy.frombuffer(state, dtype="uint8", count=count, offset=at)[:] = raw
        at += count
    return size


# ---- several ranks ---------------------------------------------------------------------------------------------------


def _ranks(line: Line, ring: mmap.mmap, state: mmap.mmap, spec: Mapping[str, Any], world: int) -> None:
    """One process a rank. The ranks ask in turn, so that rank r's k-th batch is always the same rows."""
    children = []
    for rank in range(world):
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            ours.close()
            code = 1
            try:
                address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "RANK": rank, "LOCAL_RANK": rank,
                           "WORLD_SIZE": world, "GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}  # fmt: skip
                os.environ.update({key: str(value) for key, value in address.items()})
                config = {**spec["config"], "rank": rank, "seed": spec["config"]["seed"] + rank}
                _rank(Line(theirs.detach()), ring, state, spec, config)
                code = 0
            except BaseException:  # noqa: BLE001 - the candidate's failure, told on its stderr
                import traceback

                traceback.print_exc()
            os._exit(code)
        theirs.close()
        children.append(Line(ours.detach()))
    said = [child.receive()[0] for child in children]
    line.send(said[0])
    go, _, _ = line.receive()
    for child in children:
        child.send(go)
    _serve_ranks(line, children)


def _serve_ranks(line: Line, children: list[Line]) -> None:
    going = dict(enumerate(children))
    for rank in itertools.cycle(range(len(children))):
        if rank not in going:
            continue
        message, _, _ = going[rank].receive()
        if "state" in message:
            line.send(message)
            return
        if "finished" in message:
            del going[rank]
            continue
        line.send(message)
        answer, _, _ = line.receive()
        going[rank].send(answer)


# ---- scoring ---------------------------------------------------------------------------------------------------------


def score(fd: int, spec: Mapping[str, Any]) -> None:
    """The scorer's worker: a fresh model, then the trained state, then logits for whatever rows come."""
    import numpy
    import torch

    line = Line(fd)
    setup, _, (state_fd, logits_fd) = line.receive(descriptors=2)
    torch.set_num_threads(spec["threads"])
    config = dict(spec["config"])
    load(f"{spec['entry']}:build_model")
    build = load_again(spec["entry"], "build_model")
    _seed(config["seed"])
    model = build(config).to(config["device"]).eval()
    state = mmap.mmap(state_fd, 0, prot=mmap.PROT_READ)
    shape = (spec["rows"], config["sequence_length"], config["vocab_size"])
    if setup.get("ipc"):
        buffer = cuda_ipc.open_tensor(bytes.fromhex(setup["ipc"]), shape)
    else:
        buffer = torch.from_numpy(numpy.frombuffer(mmap.mmap(logits_fd, 0), dtype="float32")).reshape(shape)
    with torch.inference_mode():
        if config["device"] != "cpu":
            model(
                torch.zeros(shape[:2], dtype=torch.int64, device=config["device"])
            )  # kernels are loaded, libraries set up
            torch.cuda.synchronize()
        line.send({"built": sum(p.numel() for p in model.parameters())})
        while True:
            message, body, _ = line.receive()
            if "load" in message:
                _load(model, state, message["load"])
                line.send({"loaded": True})
                continue
            tokens = torch.from_numpy(numpy.frombuffer(body, dtype="uint16").astype("int64"))
            tokens = tokens.reshape(-1, config["sequence_length"])
            logits = model(tokens.to(config["device"]))
            if logits.shape != (len(tokens), *shape[1:]):
                raise ValueError(f"logits must be {[len(tokens), *shape[1:]]}, not {list(logits.shape)}")
            buffer[: len(tokens)].copy_(logits)
            if config["device"] != "cpu":
                torch.cuda.synchronize()
            line.send({"scored": len(tokens)})


def _load(model: Any, state: mmap.mmap, size: int) -> None:
    import torch

    entries, at = wire.read_header(memoryview(state), size, size)
    tensors = {}
    for name, dtype, shape in entries:
        kind = getattr(torch, dtype)
        count = 1
        for n in shape:
            count *= n
        length = count * wire.ITEM[dtype]
        flat = torch.frombuffer(bytearray(state[at : at + length]), dtype=kind) if count else torch.empty(0, dtype=kind)
        tensors[name] = flat.reshape(shape)
        at += length
    model.load_state_dict(tensors)
