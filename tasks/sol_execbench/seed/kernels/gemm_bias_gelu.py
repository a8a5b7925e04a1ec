"""gemm_bias_gelu: gelu (tanh form) of a @ b + bias.

Inputs:
    a: bfloat16 [m, k]
    b: bfloat16 [k, n]
    bias: bfloat16 [n]
Outputs:
    c: bfloat16 [m, n]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(a, b, bias):
    """gelu (tanh form) of a @ b + bias."""
    acc = torch.promote_types(a.dtype, torch.float32)
    h = (a @ b).to(acc) + bias.to(acc)
    return torch.nn.functional.gelu(h, approximate="tanh").to(a.dtype)
