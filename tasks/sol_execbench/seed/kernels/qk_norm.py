"""qk_norm: rmsnorm of every head of queries and keys, each with its own weight, eps 1e-6.

Inputs:
    q: bfloat16 [tokens, q_heads, head_dim]
    k: bfloat16 [tokens, kv_heads, head_dim]
    q_weight: bfloat16 [head_dim]
    k_weight: bfloat16 [head_dim]
Outputs:
    q_normed: bfloat16 [tokens, q_heads, head_dim]
    k_normed: bfloat16 [tokens, kv_heads, head_dim]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(q, k, q_weight, k_weight):
    """rmsnorm of every head of queries and keys, each with its own weight, eps 1e-6."""
    acc = torch.promote_types(q.dtype, torch.float32)
    out = []
    for x, w in ((q, q_weight), (k, k_weight)):
        h = x.to(acc)
        out.append((h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6) * w.to(acc)).to(x.dtype))
    return out[0], out[1]
