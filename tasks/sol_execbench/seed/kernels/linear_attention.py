"""linear_attention: out[t] = sum over s <= t of exp(decay[head] * (t - s)) (q[t] . k[s]) v[s], decay < 0.

Inputs:
    q: bfloat16 [batch, heads, seq, dim]
    k: bfloat16 [batch, heads, seq, dim]
    v: bfloat16 [batch, heads, seq, dim]
    decay: float32 [heads]
Outputs:
    out: bfloat16 [batch, heads, seq, dim]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(q, k, v, decay):
    """out[t] = sum over s <= t of exp(decay[head] * (t - s)) (q[t] . k[s]) v[s], decay < 0."""
    acc = torch.promote_types(q.dtype, torch.float32)
    i = torch.arange(q.shape[2], device=q.device)
    gap = (i[:, None] - i[None, :]).to(acc)
    weight = torch.where(gap >= 0, torch.exp(decay.to(acc)[:, None, None] * gap.clamp(min=0)), 0.0)
    scores = (q.to(acc) @ k.to(acc).transpose(-1, -2)) * weight
    return (scores @ v.to(acc)).to(q.dtype)
