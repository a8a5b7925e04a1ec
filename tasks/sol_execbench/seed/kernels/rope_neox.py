"""rope_neox: Halves rotated against each other: [a, b] -> [a cos - b sin, b cos + a sin].

Inputs:
    x: bfloat16 [batch, seq, heads, dim]
    cos: float32 [seq, half]
    sin: float32 [seq, half]
Outputs:
    y: bfloat16 [batch, seq, heads, dim]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(x, cos, sin):
    """Halves rotated against each other: [a, b] -> [a cos - b sin, b cos + a sin]."""
    acc = torch.promote_types(x.dtype, torch.float32)
    a, b = x.to(acc).chunk(2, dim=-1)
    c, s = cos.to(acc)[None, :, None, :], sin.to(acc)[None, :, None, :]
    return torch.cat((a * c - b * s, b * c + a * s), dim=-1).to(x.dtype)
