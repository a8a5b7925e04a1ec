"""gelu_bias: Exact gelu of x + bias.

Inputs:
    x: float16 [rows, inner]
    bias: float16 [inner]
Outputs:
    y: float16 [rows, inner]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(x, bias):
    """Exact gelu of x + bias."""
    acc = torch.promote_types(x.dtype, torch.float32)
    return torch.nn.functional.gelu(x.to(acc) + bias.to(acc)).to(x.dtype)
