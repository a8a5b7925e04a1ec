"""Why does a 5 us kernel take 5.05 us in one process and 5.6 in another? Placement of data, of code, or the process itself.

    python3 kernels_placement.py         ~15 s on an H100 (3 processes)

No referee and no candidate: the harness' gate around one RMSNorm of 64 rows. Per process: fixed layouts of the tensors, a new
place at every call, the same code loaded again, the kernel run once before the gate, an empty window. Raw: every call.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import random
from statistics import median, pstdev
from typing import Any

from kernels_common import ROOT, Raw, arguments, machine_facts, table

KERNEL = ROOT / "benchmarks/kernels/triton/rmsnorm.py"
CALLS, ROWS, HIDDEN = 100, 64, 4096


def loaded(number: int) -> Any:
    """The kernel's module anew: its machine code is loaded to another address."""
    spec = importlib.util.spec_from_file_location(f"rmsnorm_{number}", KERNEL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Window:
    """One timed call behind the gate, everything queued while a spinning kernel holds the stream."""

    def __init__(self) -> None:
        import torch

        from evolve.evaluators.timing.driver import Driver
        from evolve.evaluators.timing.gate import Gate

        torch.zeros(1, device="cuda")
        self.torch, self.driver = torch, Driver()
        major, minor = torch.cuda.get_device_capability()
        self.gate = Gate(self.driver, f"sm_{major}{minor}")
        self.start, self.end = self.driver.event(), self.driver.event()
        self.words = torch.tensor([1, 2], dtype=torch.int64, device="cuda")

    def time(self, work: Any, primer: Any = None) -> float:
        stream = self.torch.cuda.current_stream().cuda_stream
        self.gate.prepare()
        self.torch.cuda.synchronize()
        self.gate.spin(300_000, stream)
        if primer is not None:
            primer()
        self.gate.open(self.words.data_ptr(), 1, [], stream, 2.0)
        self.driver.record(self.start, stream)
        work()
        self.driver.record(self.end, stream)
        self.gate.close([], stream)
        self.torch.cuda.synchronize()
        return round(self.driver.elapsed(self.start, self.end) * 1e6, 3)


def study(seed: int, queue: Any) -> None:
    import torch

    from evolve.evaluators.kernels.placement import Places

    window, stream = Window(), random.Random(seed)
    run = loaded(0).run
    found: dict[str, Any] = {}
    found["empty"] = [window.time(lambda: None) for _ in range(CALLS)]
    keep: list[Any] = []
    for layout in range(6):
        keep.append(torch.empty(512 * stream.randrange(1, 2000), dtype=torch.uint8, device="cuda"))
        x = torch.randn(ROWS, HIDDEN, device="cuda").bfloat16()
        w = torch.randn(HIDDEN, device="cuda").bfloat16()
        us = [window.time(lambda a=x, b=w: run(a, b)) for _ in range(CALLS)]
        found[f"layout {layout}"] = us
        keep += [x, w]
    for load in range(1, 7):
        again = loaded(load).run
        again(x, w)
        found[f"load {load}"] = [window.time(lambda f=again: f(x, w)) for _ in range(CALLS)]
    found["primed"] = [window.time(lambda: run(x, w), lambda: run(x, w)) for _ in range(CALLS)]
    places, rows = Places(), []
    for call in range(3 * CALLS):
        places.begin(seed * 1000 + call, 2 * ROWS * HIDDEN)
        a = places.take(2 * ROWS * HIDDEN).view(torch.bfloat16).view(ROWS, HIDDEN).copy_(x)
        b = places.take(2 * HIDDEN).view(torch.bfloat16).copy_(w)
        kept: list[Any] = []  # the call's before is free now: after `fill` its block would be taken again
        places.fill([2 * ROWS * HIDDEN])
        us = window.time(lambda p=a, q=b, k=kept: k.append(run(p, q)))
        rows.append([us, a.data_ptr() >> 8, b.data_ptr() >> 8, kept[0].data_ptr() >> 8])
        places.free()
    found["places"] = rows
    queue.put(found)


def process(seed: int) -> dict[str, Any]:
    context = multiprocessing.get_context("forkserver")
    queue = context.Queue()
    child = context.Process(target=study, args=(seed, queue))
    child.start()
    found = queue.get(timeout=120)
    child.join(30)
    return {"us": found}


def main() -> None:
    global args
    args = arguments("placement", processes=3)
    raw = Raw(args, "kernels_placement")
    raw.attempt("machine", machine_facts)
    multiprocessing.get_context("forkserver").set_forkserver_preload(["torch", "triton"])
    if args.device == "cuda":
        for k in range(args.processes):
            raw.attempt(f"process {k}", lambda s=k: process(s))
    lines = []
    for row in raw.rows:
        for name, values in row.get("us", {}).items():
            us = [v[0] if isinstance(v, list) else v for v in values]
            lines.append([row["item"], name, median(us), pstdev(us), min(us), max(us)])
    print(table(["process", "what", "median us", "sd", "least", "most"], lines))


if __name__ == "__main__":
    main()
