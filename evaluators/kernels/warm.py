"""Triton's own start-up, done once in a launcher instead of in every worker forked from it.

A process's first compilation hashes Triton's whole installation (a key of its cache), sets LLVM up and has the C compiler
build the module that talks to the driver: measured 0.6 s and 0.4 s on a CPU, against 0.1 s for a second kernel. None of it
depends on a candidate. A worker finds it in the memory it was forked with; its own cache stays private to it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

HOPPER = 90


@triton.jit  # type: ignore[untyped-decorator]
def _sample(x, y, n, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    """A product, a reduction and an exponential: the passes that most candidates need."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, SIZE)
    mask = at < n
    tile = tl.load(x + row * n + at[:, None] * n + at[None, :], mask=mask[:, None] & mask[None, :], other=0.0)
    total = tl.sum(tl.exp(tl.dot(tile, tile)), 1)
    tl.store(y + row * n + at, total.to(tl.bfloat16), mask=mask)


def warm() -> dict[str, str]:
    """Compile a kernel for this machine's GPU and load the driver's module; what of it did not work, with why.

    Touches no GPU: `cuInit` is never called, so that forks can use theirs.
    """
    failed: dict[str, str] = {}
    before = os.environ.get("TRITON_CACHE_DIR")
    with tempfile.TemporaryDirectory(prefix="warm-") as folder:
        os.environ["TRITON_CACHE_DIR"] = folder
        try:
            for name, step in (("compiler", compiled), ("driver", _driver)):
                try:
                    step()
                except Exception as error:  # noqa: BLE001 - a worker then does it itself, slower
                    failed[name] = f"{type(error).__name__}: {error}"
                    sys.stderr.write(f"kernel launcher: Triton's {name} was not warmed: {failed[name]}\n")
        finally:
            del os.environ["TRITON_CACHE_DIR"]
            if before is not None:
                os.environ["TRITON_CACHE_DIR"] = before
    return failed


def compiled() -> Any:
    """The sample kernel for this machine's GPU, never loaded onto it. Raises what Triton's compiler raises."""
    signature = {"x": "*bf16", "y": "*bf16", "n": "i32", "SIZE": "constexpr"}
    source = ASTSource(_sample, signature=signature, constexprs={(3,): 64})
    return triton.compile(source, target=GPUTarget("cuda", capability(), 32), options={"num_warps": 4})


def _driver() -> None:
    """Raises AssertionError where there is no libcuda, and what the C compiler raises."""
    from triton.backends.nvidia.driver import CudaDriver

    triton.runtime.driver.set_active(CudaDriver())


def capability() -> int:
    """Compute capability of the first GPU without touching CUDA, as Triton counts it (90 for 9.0); a Hopper's where unknown."""
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        text = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
        return int(text.split()[0].replace(".", ""))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return HOPPER
