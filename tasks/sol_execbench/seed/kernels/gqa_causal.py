"""gqa_causal: Causal attention where 4 query heads share a key/value head.

Inputs:
    q: bfloat16 [batch, heads, seq, dim]
    k: bfloat16 [batch, kv_heads, seq, dim]
    v: bfloat16 [batch, kv_heads, seq, dim]
Outputs:
    out: bfloat16 [batch, heads, seq, dim]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(q, k, v):
    """Causal attention where 4 query heads share a key/value head."""
    k, v = (t.repeat_interleave(4, dim=1) for t in (k, v))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
