"""What a launcher imports once for all kernel workers on a CPU: torch, and Triton in its interpreter where it is installed.

Triton decides at import which of the two its own library functions (`tl.sum`, `tl.softmax`) are compiled for, so the
variable is set before.
"""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"

import torch.utils._python_dispatch  # noqa: F401

try:
    import triton.runtime.interpreter  # noqa: F401
except ImportError:
    pass

import evolve.evaluators.kernels.worker
import evolve.evaluators.kernels.worker_cpu  # noqa: F401
