"""dropout_residual: residual + x / (1 - p) where `keep`, residual elsewhere.

Inputs:
    x: bfloat16 [rows, inner]
    residual: bfloat16 [rows, inner]
    keep: bool [rows, inner]
    p: float32
Outputs:
    y: bfloat16 [rows, inner]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(x, residual, keep, p):
    """residual + x / (1 - p) where `keep`, residual elsewhere."""
    acc = torch.promote_types(x.dtype, torch.float32)
    return (residual.to(acc) + torch.where(keep, x.to(acc) / (1 - p), 0.0)).to(x.dtype)
