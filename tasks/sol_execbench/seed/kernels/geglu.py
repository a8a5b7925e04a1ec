"""geglu: x = [gate, up] along the last axis; gelu (tanh form) of gate, times up.

Inputs:
    x: bfloat16 [rows, double]
Outputs:
    y: bfloat16 [rows, inner]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(x):
    """x = [gate, up] along the last axis; gelu (tanh form) of gate, times up."""
    acc = torch.promote_types(x.dtype, torch.float32)
    gate, up = x.to(acc).chunk(2, dim=-1)
    return (torch.nn.functional.gelu(gate, approximate="tanh") * up).to(x.dtype)
