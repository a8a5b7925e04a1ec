"""moe_permute: Each token twice, ordered by expert, stable in (token, slot) order; rows offsets[e]..offsets[e+1] are expert e's.

Inputs:
    x: bfloat16 [tokens, hidden]
    expert: int32 [tokens, two]
    count: int64
Outputs:
    rows: bfloat16 [slots, hidden]
    offsets: int32 [ends]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(x, expert, count):
    """Each token twice, ordered by expert, stable in (token, slot) order; rows offsets[e]..offsets[e+1] are expert e's."""
    flat = expert.flatten().long()
    order = torch.argsort(flat, stable=True)
    sizes = torch.zeros(count, dtype=torch.int64, device=x.device).scatter_add_(0, flat, torch.ones_like(flat))
    offsets = torch.cat((torch.zeros(1, dtype=torch.int64, device=x.device), sizes.cumsum(0)))
    return x[order // 2], offsets.to(torch.int32)
