"""cumsum: Inclusive prefix sum along the last axis.

Inputs:
    x: float32 [rows, length]
Outputs:
    y: float32 [rows, length]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(x):
    """Inclusive prefix sum along the last axis."""
    return torch.cumsum(x, dim=-1)
