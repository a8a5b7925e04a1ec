"""gemm_dual_swiglu: silu(x @ gate) * (x @ up).

Inputs:
    x: bfloat16 [m, k]
    gate: bfloat16 [k, n]
    up: bfloat16 [k, n]
Outputs:
    y: bfloat16 [m, n]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(x, gate, up):
    """silu(x @ gate) * (x @ up)."""
    acc = torch.promote_types(x.dtype, torch.float32)
    g = (x @ gate).to(acc)
    return (g * torch.sigmoid(g) * (x @ up).to(acc)).to(x.dtype)
