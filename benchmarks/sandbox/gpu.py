"""What runs on a GPU inside each rung, and how fast. Needs an NVIDIA GPU, torch and triton; writes one JSON line.

    python benchmarks/sandbox/gpu.py [--out results/gpu.json] [--as-user]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))

from evolve.evaluators.channel import Refused, Tensor, unpack
from evolve.evaluators.sandbox import Command
from evolve.evaluators.sandbox.ladder import gpu_devices
from evolve.evaluators.sandbox.local import LABELS, LocalSandbox
from evolve.tasks.errors import SandboxError
from evolve.tasks.evidence import Failure
from evolve.tasks.task import Limits

PROGRAM = '''
import time

def ready():
    import torch
    began = time.perf_counter()
    x = torch.ones(1, device="cuda")
    torch.cuda.synchronize()
    return [float(x.item()), time.perf_counter() - began]

def matmul():
    import torch
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    b = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    for _ in range(5):
        a @ b
    torch.cuda.synchronize()
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    began.record()
    for _ in range(20):
        a @ b
    ended.record()
    torch.cuda.synchronize()
    return 2 * 8192**3 * 20 / (began.elapsed_time(ended) * 1e-3) / 1e12

def triton_add():
    import torch, triton, kernel
    x = torch.randn(1 << 24, device="cuda")
    y = torch.empty_like(x)
    kernel.double[(x.numel() // 1024,)](x, y, BLOCK=1024)
    torch.cuda.synchronize()
    return bool(torch.equal(y, 2 * x))

def scaled(x):
    return x * 2 + 1
'''

KERNEL = '''
import triton
import triton.language as tl

@triton.jit
def double(x, y, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(x + at) * 2)
'''

CUDA = r'''
#include <cstdio>
__global__ void f(int *x) { x[threadIdx.x] = threadIdx.x; }
int main() { int *d, h[32]; cudaMalloc(&d, 128); f<<<1, 32>>>(d); cudaMemcpy(h, d, 128, cudaMemcpyDeviceToHost);
  printf("%d\n", h[31]); return 0; }
'''


def value(outcome: Any) -> Any:
    try:
        return unpack(outcome.frame)[0]["value"]
    except Refused:
        said = (outcome.stderr or "").strip().splitlines()[-1:] or [""]
        return f"FAILED: {outcome.failure.message if outcome.failure else 'no frame'} {said[0][:200]}"


def rung(name: str, folder: Path) -> dict[str, Any]:
    tree = folder / "tree"
    tree.mkdir(exist_ok=True)
    (tree / "program.py").write_text(PROGRAM)
    (tree / "kernel.py").write_text(KERNEL)
    (tree / "a.cu").write_text(CUDA)
    began = time.perf_counter()
    ours = ("evolve.evaluators.referee.cuda", "evolve.evaluators.referee.harness")
    preload = ("torch", "triton", "numpy", "encodings.idna", *ours)
    sandbox = LocalSandbox(name, folder / f"s-{name}", preload=preload, devices=gpu_devices())
    limits = Limits(memory=48 << 30, processes=512, disk=4 << 30)
    out: dict[str, Any] = {"label": sandbox.label}
    try:
        command = Command((), tree, wall=120, limits=limits, frame=1 << 16)
        out["first_ready"] = value(sandbox.call(command, "program.py:ready", ()))
        out["clean_parent_start_s"] = round(time.perf_counter() - began, 2)
        walls = []
        for _ in range(5):
            began = time.perf_counter()
            sandbox.call(command, "program.py:ready", ())
            walls.append(time.perf_counter() - began)
        out["fork_to_cuda_ready_s"] = round(statistics.median(walls), 3)
        out["matmul_tflops"] = value(sandbox.call(command, "program.py:matmul", ()))
        out["triton"] = value(sandbox.call(command, "program.py:triton_add", ()))
        line = "nvcc -o a a.cu && ./a"
        path = {"PATH": f"/usr/local/cuda/bin:{os.environ.get('PATH', '')}"}
        nvcc = sandbox.run(Command(("/bin/sh", "-c", line), tree, wall=120, limits=limits, env=path))
        out["nvcc"] = nvcc.stdout.strip() or (nvcc.failure.message if nvcc.failure else "")
        out["ipc"] = ipc(sandbox, command)
    finally:
        sandbox.close()
    return out


def ipc(sandbox: LocalSandbox, command: Command) -> Any:
    """200 calls of one worker on memory of ours: milliseconds from asking to the answer, outputs checked each time."""
    import torch

    from evolve.evaluators.referee.cuda import Region

    inputs, outputs = (Region({name: Tensor("float32", (1 << 20,))}) for name in ("x", "y"))
    arguments = ("program.py:scaled", inputs.told(), outputs.told())
    harness = "evolve.evaluators.referee.cuda:serve_cuda"
    with sandbox.open(command, harness, arguments, (inputs.fd, outputs.fd)) as session:
        answer = session.receive(4096, 60)
        if isinstance(answer, Failure):
            said = [line for line in session.finish().stderr.splitlines() if "rror" in line]
            return f"FAILED: {answer.message} {said[:2]}"
        times = []
        for number in range(200):
            x = torch.randn(1 << 20, device="cuda")
            inputs.write({"x": x})
            outputs.poison()
            began = time.perf_counter()
            session.send({"call": number})
            answer = session.receive(4096, 10)
            times.append((time.perf_counter() - began) * 1e3)
            if isinstance(answer, Failure):
                return f"FAILED: {answer.message}"
            if not torch.equal(outputs.take()["y"], x * 2 + 1):
                return "FAILED: wrong output"
        times.sort()
    inputs.close()
    outputs.close()
    return {"calls": 200, "median_ms": round(times[100], 3), "p99_ms": round(times[198], 3)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out")
    parser.add_argument("--as-user", type=int, default=0)
    options = parser.parse_args()
    if options.as_user:
        os.setgroups([])
        os.setresgid(options.as_user, options.as_user, options.as_user)
        os.setresuid(options.as_user, options.as_user, options.as_user)
        os.environ["HOME"] = "/tmp"
    import torch

    facts: dict[str, Any] = {
        "gpu": torch.cuda.get_device_name(0), "torch": torch.__version__, "kernel": platform.release(), "uid": os.getuid(),
        "devices": gpu_devices(),
    }  # fmt: skip
    space: dict[str, Any] = {}
    exec(PROGRAM, space)
    facts["outside_matmul_tflops"] = space["matmul"]()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        for name in LABELS:
            if name == "bare":
                continue
            try:
                facts[name] = rung(name, Path(folder))
            except (SandboxError, OSError) as error:
                facts[name] = f"unavailable: {error}"
    text = json.dumps(facts, indent=1)
    print(text)
    if options.out:
        Path(options.out).write_text(text + "\n")


if __name__ == "__main__":
    main()
