"""add_rmsnorm: total = x + residual (rounded to its dtype); y = rmsnorm(total) * weight, eps 1e-6.

Inputs:
    x: bfloat16 [rows, hidden]
    residual: bfloat16 [rows, hidden]
    weight: bfloat16 [hidden]
Outputs:
    y: bfloat16 [rows, hidden]
    total: bfloat16 [rows, hidden]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(x, residual, weight):
    """total = x + residual (rounded to its dtype); y = rmsnorm(total) * weight, eps 1e-6."""
    acc = torch.promote_types(x.dtype, torch.float32)
    total = (x.to(acc) + residual.to(acc)).to(x.dtype)
    h = total.to(acc)
    y = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6) * weight.to(acc)
    return y.to(x.dtype), total
