"""gemm_int8_weight: y = (x @ w^T) * scale, weights in int8 with one float32 scale an output channel.

Inputs:
    x: bfloat16 [m, k]
    w: int8 [n, k]
    scale: float32 [n]
Outputs:
    y: bfloat16 [m, n]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(x, w, scale):
    """y = (x @ w^T) * scale, weights in int8 with one float32 scale an output channel."""
    acc = torch.promote_types(x.dtype, torch.float32)
    return ((x @ w.to(x.dtype).T).to(acc) * scale.to(acc)).to(x.dtype)
