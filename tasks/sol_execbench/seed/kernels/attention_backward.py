"""attention_backward: Gradients of causal attention with respect to q, k and v (the forward is recomputed).

Inputs:
    grad: bfloat16 [batch, heads, seq, dim]
    q: bfloat16 [batch, heads, seq, dim]
    k: bfloat16 [batch, heads, seq, dim]
    v: bfloat16 [batch, heads, seq, dim]
Outputs:
    grad_q: bfloat16 [batch, heads, seq, dim]
    grad_k: bfloat16 [batch, heads, seq, dim]
    grad_v: bfloat16 [batch, heads, seq, dim]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(grad, q, k, v):
    """Gradients of causal attention with respect to q, k and v (the forward is recomputed)."""
    acc = torch.promote_types(q.dtype, torch.float32)
    scale, n = q.shape[-1] ** -0.5, q.shape[2]
    s = (q @ k.transpose(-1, -2)).to(acc) * scale
    p = torch.softmax(s.masked_fill(torch.ones(n, n, dtype=torch.bool, device=q.device).triu(1), float("-inf")), dim=-1)
    dp = (grad @ v.transpose(-1, -2)).to(acc)
    ds = (p * (dp - (dp * p).sum(-1, keepdim=True)) * scale).to(q.dtype)
    return ds @ k, ds.transpose(-1, -2) @ q, p.to(q.dtype).transpose(-1, -2) @ grad
