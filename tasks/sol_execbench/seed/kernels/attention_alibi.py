"""attention_alibi: Causal attention with bias -slope[head] * distance.

Inputs:
    q: bfloat16 [batch, heads, seq, dim]
    k: bfloat16 [batch, heads, seq, dim]
    v: bfloat16 [batch, heads, seq, dim]
    slopes: float32 [heads]
Outputs:
    out: bfloat16 [batch, heads, seq, dim]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(q, k, v, slopes):
    """Causal attention with bias -slope[head] * distance."""
    acc = torch.promote_types(q.dtype, torch.float32)
    n = q.shape[2]
    i = torch.arange(n, device=q.device)
    distance = (i[:, None] - i[None, :]).to(acc)
    s = (q.to(acc) @ k.transpose(-1, -2).to(acc)) * q.shape[-1] ** -0.5 - slopes.to(acc)[None, :, None, None] * distance
    s = s.masked_fill(distance < 0, float("-inf"))
    return torch.softmax(s, dim=-1).to(q.dtype) @ v
