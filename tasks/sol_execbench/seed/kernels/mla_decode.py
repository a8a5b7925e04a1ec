"""mla_decode: Latent attention: scores (q_nope . cache + q_rope . k_rope) / sqrt(192), values are the latent cache itself.

Inputs:
    q_nope: bfloat16 [batch, heads, latent]
    q_rope: bfloat16 [batch, heads, rope]
    cache: bfloat16 [batch, context, latent]
    k_rope: bfloat16 [batch, context, rope]
Outputs:
    out: bfloat16 [batch, heads, latent]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(q_nope, q_rope, cache, k_rope):
    """Latent attention: scores (q_nope . cache + q_rope . k_rope) / sqrt(192), values are the latent cache itself."""
    acc = torch.promote_types(q_nope.dtype, torch.float32)
    c = cache.to(acc)
    s = torch.einsum("bhl,btl->bht", q_nope.to(acc), c) + torch.einsum("bhr,btr->bht", q_rope.to(acc), k_rope.to(acc))
    return torch.einsum("bht,btl->bhl", torch.softmax(s * 192**-0.5, dim=-1), c).to(q_nope.dtype)
