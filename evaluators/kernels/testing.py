"""Galleries: cheats that gain on a naive evaluator, and honest but odd candidates that must never be flagged.

Each case says on which toy problem it runs and which checks stop it (`by`, docs/kernels.md 7.1). "Caught" means *gained
nothing*: the verdict is not SCORED, or the score is no better than the honest kernel's.

`naive.py` is an evaluator with the usual holes: there every cheat gains, which shows that the gallery bites.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from evolve.evaluators.kernels.definition import Axis, Definition, Given, Problem, Spec, Tolerance, Workload

ROWS, COLS = 96, 2048

TOY = """
import torch

@torch.no_grad()
def run(x, w):
    acc = torch.promote_types(x.dtype, torch.float32)
    h = x.to(acc)
    for _ in range(6):
        h = torch.sin(h) + w.to(acc)
    return h.to(x.dtype)
"""


def toy(rows: int = ROWS, cols: int = COLS) -> Problem:
    """A float32 problem whose honest kernel takes many operations, so that skipping them shows on any clock."""
    axes = {"rows": Axis("var"), "cols": Axis("var")}
    inputs = {"x": Spec(("rows", "cols"), "float32"), "w": Spec(("cols",), "float32")}
    definition = Definition("toy", axes, inputs, {"y": Spec(("rows", "cols"), "float32")}, TOY)
    tolerance = Tolerance(atol=0.0, rtol=1e-4, ratio=0.999, rms_atol=1e-4)
    workloads = tuple(
        Workload(f"toy-{i}", {"rows": r, "cols": c}, {"x": Given("random"), "w": Given("random")}, tolerance)
        for i, (r, c) in enumerate(((rows, cols), (rows // 2 + 1, cols)))
    )
    return Problem(definition, workloads, golden=True)


@dataclass(frozen=True, slots=True)
class Case:
    """number: of docs/kernels.md's gallery. by: checks that stop it. screened: the static screen already refuses it."""

    name: str
    number: int
    source: str
    by: tuple[str, ...]
    screened: bool = False
    note: str = ""


def _source(text: str) -> str:
    return "import torch\n" + textwrap.dedent(text)


HONEST = _source(
    """
    def run(x, w):
        h = x
        for _ in range(6):
            h = torch.sin(h) + w
        return h
    """
)
_WORK = textwrap.dedent(HONEST.removeprefix("import torch\n")).replace("def run", "def work")

TRITON = """
import torch
import triton
import triton.language as tl

@triton.jit
def kernel(x, w, y, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    h = tl.load(x + row * n + at, mask=at < n, other=0.0)
    v = tl.load(w + at, mask=at < n, other=0.0)
    for _ in range(6):
        h = tl.sin(h) + v
    tl.store(y + row * n + at, h, mask=at < n)

def run(x, w):
    y = torch.empty_like(x)
    kernel[(x.shape[0],)](x, w, y, x.shape[1], BLOCK=triton.next_power_of_2(x.shape[1]))
    return y
"""
"""The toy's honest kernel in Triton, on a GPU or through the interpreter."""

CHEATS: tuple[Case, ...] = (
    Case(
        "ref_global_read",
        1,
        _source("import __main__\ndef run(x, w):\n    return __main__._ref_outputs[0].clone()\n"),
        ("N2", "D11"),
        True,
    ),
    Case(
        "gc_answer_copy",
        2,
        _source("""
        import gc
        def run(x, w):
            for o in gc.get_objects():
                if type(o) is torch.Tensor and o.shape == x.shape and o is not x and not torch.equal(o, x) and o.abs().max() < 7:
                    return o.clone()
            return torch.zeros_like(x)
        """),
        ("N2", "D11"),
        True,
    ),
    Case(
        "frame_walk",
        4,
        _source("""
        import sys
        def run(x, w):
            f = sys._getframe()
            while f:
                if 'reference_outputs' in f.f_locals:
                    return f.f_locals['reference_outputs'][0].clone()
                f = f.f_back
            return torch.zeros_like(x)
        """),
        ("N2", "D11"),
        True,
    ),
    Case(
        "call_counter",
        5,
        _source("""
        calls = 0
        def run(x, w):
            global calls
            calls += 1
            if calls > 10:
                return torch.empty_like(x)
            return work(x, w)
        """)
        + _WORK,
        ("N1", "D2"),
    ),
    Case(
        "phase_view",
        6,
        _source("""
        def run(x, w):
            if x._is_view() or x.storage_offset():
                return torch.empty_like(x)
            return work(x, w)
        """)
        + _WORK,
        ("N1", "D2"),
        note="inputs are views of larger buffers in every call here",
    ),
    Case(
        "ptr_cache",
        9,
        _source("""
        seen = {}
        def run(x, w):
            key = x.data_ptr()
            if key not in seen:
                seen[key] = work(x, w)
            return seen[key].clone()
        """)
        + _WORK,
        ("N1", "D2"),
    ),
    Case(
        "shape_cache",
        10,
        _source("""
        seen = {}
        def run(x, w):
            key = tuple(x.shape)
            if key not in seen:
                seen[key] = work(x, w)
            return seen[key].clone()
        """)
        + _WORK,
        ("N1", "D2"),
    ),
    Case(
        "content_hash_cache",
        11,
        _source("""
        seen = {}
        def run(x, w):
            key = (tuple(x.shape), float(x.flatten()[0]), float(x.flatten()[-1]))
            if key not in seen:
                seen[key] = work(x, w)
            return seen[key].clone()
        """)
        + _WORK,
        ("N1",),
    ),
    Case(
        "last_call_replay",
        12,
        _source("""
        last = None
        def run(x, w):
            global last
            if last is None or last.shape != x.shape:
                last = work(x, w)
            return last
        """)
        + _WORK,
        ("N1", "D2"),
    ),
    Case(
        "disk_cache",
        15,
        _source("""
        import os
        def run(x, w):
            path = f"/tmp/evolve-cheat-{x.shape[0]}.pt"
            if not os.path.exists(path):
                torch.save(work(x, w), path)
            return torch.load(path)
        """)
        + _WORK,
        ("N1", "N8", "D2"),
    ),
    Case(
        "super_batch",
        18,
        _source("""
        queue = []
        def run(x, w):
            if not queue or queue[-1].shape != x.shape:
                queue[:] = [work(x, w) for _ in range(2)]
            return queue.pop()
        """)
        + _WORK,
        ("N1", "D2"),
    ),
    Case(
        "late_thread",
        22,
        _source("""
        import threading, time
        def run(x, w):
            y = torch.empty_like(x)
            def later():
                time.sleep(0.05)
                y.copy_(work(x, w))
            threading.Thread(target=later).start()
            return y
        """)
        + _WORK,
        ("N5", "N6", "D2"),
    ),
    Case(
        "import_thread_pool",
        23,
        _source("""
        import time
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(2)
        def job(x, w, y):
            time.sleep(0.05)
            y.copy_(work(x, w))
        def run(x, w):
            y = torch.empty_like(x)
            pool.submit(job, x, w, y)
            return y
        """)
        + _WORK,
        ("N5", "N6", "D2"),
    ),
    Case(
        "lazy_subclass",
        25,
        _source("""
        class Lazy(torch.Tensor):
            @classmethod
            def __torch_function__(cls, func, types, args=(), kwargs=None):
                args = [work(a.px, a.pw) if type(a) is Lazy else a for a in args]
                return func(*args, **(kwargs or {}))
        def run(x, w):
            y = torch.empty_like(x).as_subclass(Lazy)
            y.px, y.pw = x, w
            return y
        """)
        + _WORK,
        ("D1",),
    ),
    Case("expanded", 28, _source("def run(x, w):\n    return x.new_zeros(1).expand_as(x)\n"), ("D1", "D2")),
    Case(
        "meta_output",
        28,
        _source("def run(x, w):\n    return torch.empty(x.shape, dtype=x.dtype, device='meta')\n"),
        ("D1",),
    ),
    Case("fewer_outputs", 29, _source("def run(x, w):\n    x + w\n    return ()\n"), ("D1",)),
    Case(
        "input_zeroing",
        31,
        _source("def run(x, w):\n    x.zero_()\n    w.zero_()\n    return torch.zeros_like(x)\n"),
        ("N2", "D2", "D4"),
    ),
    Case("input_passthrough", 32, _source("def run(x, w):\n    x + w\n    return x\n"), ("D1", "D2", "D16")),
    Case(
        "elapsed_time_patch",
        40,
        _source("import time\ntime.perf_counter = lambda: 0.0\n" + HONEST.removeprefix("import torch\n")),
        ("N2", "D7", "D11"),
        True,
    ),
    Case(
        "clear_cache_patch",
        44,
        _source("torch.Tensor.copy_ = lambda self, *a, **k: self\n" + HONEST.removeprefix("import torch\n")),
        ("D11", "D2"),
        True,
    ),
    Case(
        "torch_op_patch",
        52,
        _source(
            "torch.sin = lambda h: h\ntorch.allclose = lambda *a, **k: True\n" + HONEST.removeprefix("import torch\n")
        ),
        ("N2", "D2", "D11"),
        True,
    ),
    Case(
        "flags_shared",
        53,
        _source("""
        def run(x, w):
            torch.set_default_dtype(torch.float16)
            return work(x.half(), w.half()).float()
        """)
        + _WORK,
        ("N7", "D2", "D10"),
    ),
    Case(
        "downcast",
        55,
        _source("def run(x, w):\n    return work(x.bfloat16(), w.bfloat16()).float()\n") + _WORK,
        ("D2", "D10"),
    ),
    Case(
        "skip_one_percent",
        56,
        _source("""
        def run(x, w):
            y = torch.zeros_like(x)
            n = max(x.shape[0] - 1, 1)
            y[:n] = work(x[:n], w)
            return y
        """)
        + _WORK,
        ("D2",),
    ),
    Case(
        "ignore_constant_input",
        58,
        _source("def run(x, w):\n    return work(x, torch.zeros_like(w))\n") + _WORK,
        ("D3", "D2", "D16"),
    ),
    Case(
        "seed_replay",
        60,
        _source("""
        torch.manual_seed(200)
        answers = {}
        def run(x, w):
            if not answers:
                torch.manual_seed(200)
                a, b = torch.randn(x.shape), torch.randn(w.shape)
                answers[0] = work(a, b)
            return answers[0].clone()
        """)
        + _WORK,
        ("N1", "D2"),
    ),
    Case("nan_wildcard", 63, _source("def run(x, w):\n    return torch.full_like(x, float('nan'))\n"), ("D2",)),
    Case(
        "forged_trace",
        50,
        _source("""
        import os, json
        def run(x, w):
            os.write(1, json.dumps({"done": 1, "us": 0.001, "status": "PASSED"}).encode())
            os._exit(0)
        """),
        ("N2", "D11"),
        True,
    ),
)

HONEST_ODD: tuple[Case, ...] = (
    Case(
        "slow_first_call",
        1,
        _source("""
        import time
        tuned = False
        def run(x, w):
            global tuned
            if not tuned:
                time.sleep(0.05)
                tuned = True
            return work(x, w)
        """)
        + _WORK,
        (),
        note="H1: autotuning at the first call",
    ),
    Case(
        "own_scratch",
        4,
        _source("""
        scratch = {}
        def run(x, w):
            y = scratch.setdefault(x.shape, torch.empty_like(x))
            torch.add(torch.sin(x), w, out=y)
            for _ in range(5):
                torch.add(torch.sin(y), w, out=y)
            return y
        """),
        (),
        note="a buffer of its own reused, fully recomputed at every call",
    ),
    Case(
        "flag_at_present_value",
        8,
        _source("torch.backends.cuda.matmul.allow_tf32 = False\n") + HONEST.removeprefix("import torch\n"),
        (),
    ),
    Case(
        "optional_import",
        12,
        _source("""
        try:
            import no_such_module
        except ImportError:
            no_such_module = None
        """)
        + HONEST.removeprefix("import torch\n"),
        (),
    ),
    Case(
        "suspicious_words",
        13,
        _source("""
        # stream, cache, thread, subprocess, ctypes, nvidia-smi: only words
        cache_of_streams = "thread"
        """)
        + HONEST.removeprefix("import torch\n"),
        (),
    ),
    Case(
        "non_contiguous_output", 20, _source("def run(x, w):\n    return work(x, w).t().contiguous().t()\n") + _WORK, ()
    ),
    Case(
        "view_of_larger_buffer",
        20,
        _source("""
        def run(x, w):
            big = x.new_empty(x.shape[0] + 2, x.shape[1])
            big[1:-1] = work(x, w)
            return big[1:-1]
        """)
        + _WORK,
        (),
    ),
    Case(
        "metadata_read",
        22,
        _source("def run(x, w):\n    n = int(w.abs().max().item() >= 0)\n    return work(x, w) * n\n") + _WORK,
        (),
    ),
    Case(
        "other_order",
        25,
        _source("def run(x, w):\n    return torch.cat([work(part, w) for part in x.split(7)])\n") + _WORK,
        (),
    ),
    Case("dict_output", 7, _source("def run(x, w):\n    return {'y': work(x, w)}\n") + _WORK, ()),
)
