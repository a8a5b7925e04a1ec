"""attention_sink: Causal attention with one learned logit a head that joins the softmax's denominator and adds nothing.

Inputs:
    q: bfloat16 [batch, heads, seq, dim]
    k: bfloat16 [batch, heads, seq, dim]
    v: bfloat16 [batch, heads, seq, dim]
    sink: float32 [heads]
Outputs:
    out: bfloat16 [batch, heads, seq, dim]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(q, k, v, sink):
    """Causal attention with one learned logit a head that joins the softmax's denominator and adds nothing."""
    acc = torch.promote_types(q.dtype, torch.float32)
    n = q.shape[2]
    s = (q.to(acc) @ k.transpose(-1, -2).to(acc)) * q.shape[-1] ** -0.5
    s = s.masked_fill(torch.ones(n, n, dtype=torch.bool, device=q.device).triu(1), float("-inf"))
    s = torch.cat((s, sink.to(acc)[None, :, None, None].expand(q.shape[0], -1, n, 1)), dim=-1)
    return torch.softmax(s, dim=-1)[..., :-1].to(q.dtype) @ v
