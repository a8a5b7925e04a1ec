"""gqa_paged_decode: One query token a sequence against a paged cache (16 tokens a page); `lengths` tokens of each sequence are live. The bound prices 3/4 of the slots, the least that is live.

Inputs:
    q: bfloat16 [batch, heads, dim]
    k_cache: bfloat16 [pages, sixteen, kv_heads, dim]
    v_cache: bfloat16 [pages, sixteen, kv_heads, dim]
    table: int32 [batch, slots]
    lengths: int32 [batch]
Outputs:
    out: bfloat16 [batch, heads, dim]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(q, k_cache, v_cache, table, lengths):
    """One query token a sequence against a paged cache (16 tokens a page); `lengths` tokens of each sequence are live.

    The bound prices 3/4 of the slots, the least that is live.
    """
    acc = torch.promote_types(q.dtype, torch.float32)
    d = q.shape[-1]
    k = k_cache[table.long()].flatten(1, 2).repeat_interleave(4, dim=2)
    v = v_cache[table.long()].flatten(1, 2).repeat_interleave(4, dim=2)
    s = torch.einsum("bhd,bthd->bht", q.to(acc), k.to(acc)) * d**-0.5
    dead = torch.arange(k.shape[1], device=q.device)[None, :] >= lengths[:, None]
    p = torch.softmax(s.masked_fill(dead[:, None, :], float("-inf")), dim=-1)
    return torch.einsum("bht,bthd->bhd", p, v.to(acc)).to(q.dtype)
