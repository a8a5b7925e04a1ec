"""mha_causal: Causal attention, scale 1/sqrt(dim).

Inputs:
    q: bfloat16 [batch, heads, seq, dim]
    k: bfloat16 [batch, heads, seq, dim]
    v: bfloat16 [batch, heads, seq, dim]
Outputs:
    out: bfloat16 [batch, heads, seq, dim]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(q, k, v):
    """Causal attention, scale 1/sqrt(dim)."""
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
