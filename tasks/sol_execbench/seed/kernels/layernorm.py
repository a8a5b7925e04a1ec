"""layernorm: Layer normalisation with weight and bias over the last axis, eps 1e-5.

Inputs:
    x: float16 [rows, hidden]
    weight: float16 [hidden]
    bias: float16 [hidden]
Outputs:
    y: float16 [rows, hidden]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(x, weight, bias):
    """Layer normalisation with weight and bias over the last axis, eps 1e-5."""
    acc = torch.promote_types(x.dtype, torch.float32)
    h = x.to(acc)
    mean = h.mean(-1, keepdim=True)
    var = (h - mean).pow(2).mean(-1, keepdim=True)
    return ((h - mean) * torch.rsqrt(var + 1e-5) * weight.to(acc) + bias.to(acc)).to(x.dtype)
