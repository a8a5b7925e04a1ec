"""rope_interleaved: Neighbours rotated: (x0, x1) -> (x0 cos - x1 sin, x1 cos + x0 sin).

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
    """Neighbours rotated: (x0, x1) -> (x0 cos - x1 sin, x1 cos + x0 sin)."""
    acc = torch.promote_types(x.dtype, torch.float32)
    a, b = x[..., 0::2].to(acc), x[..., 1::2].to(acc)
    c, s = cos.to(acc)[None, :, None, :], sin.to(acc)[None, :, None, :]
    return torch.stack((a * c - b * s, b * c + a * s), dim=-1).flatten(-2).to(x.dtype)
