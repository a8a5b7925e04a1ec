"""What a GPU track's launcher imports before it forks trainers: the compiler's front end, two seconds of imports a run.

Two things happen at that import which a forking process must not have, and are kept from happening: torch's pool of
compiler processes, with a thread (a trainer starts its own, harness.py), and torch 2.11's one question whether there is a
GPU (torch/_inductor/runtime/benchmarking.py), which would spoil the GPU for every process forked later. On these tracks
there is one, so that is the answer. The launcher checks afterwards (launcher.preload).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_QUIET = {"TORCH_WARM_POOL": "0", "TORCH_TNT_IN_USE": "1"}
"""Either one keeps torch from starting the pool at import; older releases know the second one only."""


@contextmanager
def _asking_nothing() -> Iterator[None]:
    environment, ask = dict(os.environ), torch.cuda.is_available
    os.environ.update(_QUIET)
    torch.cuda.is_available = lambda: True
    try:
        yield
    finally:
        torch.cuda.is_available = ask
        os.environ.clear()
        os.environ.update(environment)


with _asking_nothing():
    import torch._inductor.compile_fx
