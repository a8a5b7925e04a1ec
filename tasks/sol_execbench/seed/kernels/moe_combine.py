"""moe_combine: y[t] = weights[t, 0] * rows[row[t, 0]] + weights[t, 1] * rows[row[t, 1]].

Inputs:
    rows: bfloat16 [slots, hidden]
    row: int32 [tokens, two]
    weights: float32 [tokens, two]
Outputs:
    y: bfloat16 [tokens, hidden]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(rows, row, weights):
    """y[t] = weights[t, 0] * rows[row[t, 0]] + weights[t, 1] * rows[row[t, 1]]."""
    acc = torch.promote_types(rows.dtype, torch.float32)
    return (rows[row.long()].to(acc) * weights.to(acc)[..., None]).sum(1).to(rows.dtype)
