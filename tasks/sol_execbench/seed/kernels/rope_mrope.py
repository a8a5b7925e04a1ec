"""rope_mrope: Multimodal rotation: channel i of each half takes the position of axis i % 3 (time, height, width), neox halves.

Inputs:
    x: bfloat16 [batch, seq, heads, dim]
    position: int32 [three, batch, seq]
    cos: float32 [span, half]
    sin: float32 [span, half]
Outputs:
    y: bfloat16 [batch, seq, heads, dim]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(x, position, cos, sin):
    """Multimodal rotation: channel i of each half takes the position of axis i % 3 (time, height, width), neox halves."""
    acc = torch.promote_types(x.dtype, torch.float32)
    half = x.shape[-1] // 2
    axis = torch.arange(half, device=x.device) % 3
    where = position.long()[axis].permute(1, 2, 0)
    channel = torch.arange(half, device=x.device).expand_as(where)
    c, s = cos.to(acc)[where, channel][:, :, None, :], sin.to(acc)[where, channel][:, :, None, :]
    a, b = x.to(acc).chunk(2, dim=-1)
    return torch.cat((a * c - b * s, b * c + a * s), dim=-1).to(x.dtype)
