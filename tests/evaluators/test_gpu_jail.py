"""PyTorch, Triton, nvcc and CUDA IPC inside the jail. `benchmarks/sandbox/gpu.py` has the figures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from evolve.evaluators.sandbox.ladder import strongest

pytestmark = pytest.mark.gpu


def test_a_gpu_works_inside_at_full_speed(tmp_path: Path) -> None:
    import importlib.util

    spec = importlib.util.spec_from_file_location("gpu_bench", Path(__file__).parents[2] / "benchmarks/sandbox/gpu.py")
    assert spec is not None and spec.loader is not None
    gpu = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gpu)
    os.chmod(tmp_path, 0o755)
    space: dict[str, object] = {}
    exec(gpu.PROGRAM, space)
    outside = space["matmul"]()  # type: ignore[operator]
    found = gpu.rung(strongest(), tmp_path)
    assert found["first_ready"][0] == 1.0 and found["triton"] is True and found["nvcc"] == "31"
    assert found["matmul_tflops"] > 0.9 * outside
    assert found["fork_to_cuda_ready_s"] < 2.0 and isinstance(found["ipc"], dict)
