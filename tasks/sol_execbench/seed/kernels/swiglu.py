"""swiglu: silu(gate) * up.

Inputs:
    gate: bfloat16 [rows, inner]
    up: bfloat16 [rows, inner]
Outputs:
    y: bfloat16 [rows, inner]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(gate, up):
    """silu(gate) * up."""
    acc = torch.promote_types(gate.dtype, torch.float32)
    g = gate.to(acc)
    return (g * torch.sigmoid(g) * up.to(acc)).to(gate.dtype)
