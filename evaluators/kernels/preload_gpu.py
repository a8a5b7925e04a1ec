"""What a launcher imports once for all kernel workers on a GPU. Nothing here touches CUDA: a fork would inherit a broken
context."""

from __future__ import annotations

import torch.utils._python_dispatch  # noqa: F401

import evolve.evaluators.kernels.worker_cuda  # noqa: F401

try:
    from evolve.evaluators.kernels.warm import warm
except ImportError:
    pass  # no Triton here
else:
    warm()
