"""rope_partial: Only the first half of each head is rotated (neox style); the rest passes through.

Inputs:
    x: bfloat16 [batch, seq, heads, dim]
    cos: float32 [seq, quarter]
    sin: float32 [seq, quarter]
Outputs:
    y: bfloat16 [batch, seq, heads, dim]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(x, cos, sin):
    """Only the first half of each head is rotated (neox style); the rest passes through."""
    acc = torch.promote_types(x.dtype, torch.float32)
    rot, rest = x.chunk(2, dim=-1)
    a, b = rot.to(acc).chunk(2, dim=-1)
    c, s = cos.to(acc)[None, :, None, :], sin.to(acc)[None, :, None, :]
    turned = torch.cat((a * c - b * s, b * c + a * s), dim=-1).to(x.dtype)
    return torch.cat((turned, rest), dim=-1)
