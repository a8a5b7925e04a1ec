"""rmsnorm: y = x / sqrt(mean(x^2) + 1e-6) * weight, over the last axis.

Inputs:
    x: bfloat16 [rows, hidden]
    weight: bfloat16 [hidden]
Outputs:
    y: bfloat16 [rows, hidden]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(x, weight):
    """y = x / sqrt(mean(x^2) + 1e-6) * weight, over the last axis."""
    acc = torch.promote_types(x.dtype, torch.float32)
    h = x.to(acc)
    return (h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6) * weight.to(acc)).to(x.dtype)
