"""Attention: softmax(q k^T * scale) v with masks, groups, sinks, pages and its gradient."""

from __future__ import annotations

import torch

from evolve.tasks.sol_execbench.problems import problem

DEV = {
    "batch": [1, 1, 2, 4, 8, 1],
    "heads": [16, 32, 16, 16, 16, 8],
    "seq": [128, 1024, 2048, 1024, 512, 1537],
    "dim": [128, 128, 128, 64, 128, 128],
}
DRAW = {"batch": (1, 4, 1), "heads": (1, 16, 1), "seq": (1, 2048, 1), "dim": [64, 128]}
TINY = {"batch": [1, 2], "heads": [2, 4], "seq": [9, 16], "dim": [16, 32]}
Q, K, V = ("bfloat16 batch,heads,seq,dim randn",) * 3
OUT = {"out": "bfloat16 batch,heads,seq,dim"}


def causal(a):
    return 4.0 * a["batch"] * a["heads"] * a["dim"] * a["seq"] * (a["seq"] + 1) / 2


@problem(
    "attention",
    inputs={"q": Q, "k": K, "v": V},
    outputs=OUT,
    dev=DEV,
    draw=DRAW,
    tiny=TINY,
    flops=causal,
    math="bfloat16",
)
def mha_causal(q, k, v):
    """Causal attention, scale 1/sqrt(dim)."""
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


GQA = {
    "batch": [1, 1, 2, 4, 8, 1],
    "kv_heads": [4, 8, 4, 8, 2, 1],
    "seq": [128, 1024, 2048, 1024, 512, 1537],
    "dim": [128] * 6,
}


@problem(
    "attention",
    inputs={
        "q": "bfloat16 batch,heads,seq,dim randn",
        "k": "bfloat16 batch,kv_heads,seq,dim randn",
        "v": "bfloat16 batch,kv_heads,seq,dim randn",
    },
    outputs=OUT,
    const={"ratio": 4},
    derived={"heads": "kv_heads * ratio"},
    dev=GQA,
    draw={"batch": (1, 4, 1), "kv_heads": (1, 8, 1), "seq": (1, 2048, 1), "dim": [64, 128]},
    tiny={"batch": [1, 2], "kv_heads": [1, 2], "seq": [9, 12], "dim": [16, 32]},
    flops=causal,
    math="bfloat16",
)
def gqa_causal(q, k, v):
    """Causal attention where 4 query heads share a key/value head."""
    k, v = (t.repeat_interleave(4, dim=1) for t in (k, v))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


@problem(
    "attention",
    inputs={"q": Q, "k": K, "v": V},
    outputs=OUT,
    const={"window": 256},
    dev=DEV,
    draw=DRAW,
    tiny={"batch": [1, 1], "heads": [2, 1], "seq": [260, 300], "dim": [16, 32]},
    math="bfloat16",
    flops=lambda a: 4.0 * a["batch"] * a["heads"] * a["dim"] * sum(min(i + 1, 256) for i in range(a["seq"])),
)
def sliding_window(q, k, v):
    """Causal attention that sees the last 256 positions, the own one included."""
    n = q.shape[2]
    i = torch.arange(n, device=q.device)
    mask = (i[:, None] >= i[None, :]) & (i[:, None] - i[None, :] < 256)
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)


@problem(
    "attention",
    inputs={"q": Q, "k": K, "v": V, "sink": "float32 heads sink"},
    outputs=OUT,
    dev=DEV,
    draw=DRAW,
    tiny=TINY,
    flops=causal,
    math="bfloat16",
    tolerance={"rms_atol": 8e-2},
)
def attention_sink(q, k, v, sink):
    """Causal attention with one learned logit a head that joins the softmax's denominator and adds nothing."""
    acc = torch.promote_types(q.dtype, torch.float32)
    n = q.shape[2]
    s = (q.to(acc) @ k.transpose(-1, -2).to(acc)) * q.shape[-1] ** -0.5
    s = s.masked_fill(torch.ones(n, n, dtype=torch.bool, device=q.device).triu(1), float("-inf"))
    s = torch.cat((s, sink.to(acc)[None, :, None, None].expand(q.shape[0], -1, n, 1)), dim=-1)
    return torch.softmax(s, dim=-1)[..., :-1].to(q.dtype) @ v


@problem(
    "attention",
    inputs={"q": Q, "k": K, "v": V, "slopes": "float32 heads unit"},
    outputs=OUT,
    dev=DEV,
    draw=DRAW,
    tiny=TINY,
    flops=causal,
    math="bfloat16",
    tolerance={"rms_atol": 8e-2},
)
def attention_alibi(q, k, v, slopes):
    """Causal attention with bias -slope[head] * distance."""
    acc = torch.promote_types(q.dtype, torch.float32)
    n = q.shape[2]
    i = torch.arange(n, device=q.device)
    distance = (i[:, None] - i[None, :]).to(acc)
    s = (q.to(acc) @ k.transpose(-1, -2).to(acc)) * q.shape[-1] ** -0.5 - slopes.to(acc)[None, :, None, None] * distance
    s = s.masked_fill(distance < 0, float("-inf"))
    return torch.softmax(s, dim=-1).to(q.dtype) @ v


@problem(
    "attention",
    inputs={"grad": "bfloat16 batch,heads,seq,dim randn", "q": Q, "k": K, "v": V},
    outputs={
        "grad_q": "bfloat16 batch,heads,seq,dim",
        "grad_k": "bfloat16 batch,heads,seq,dim",
        "grad_v": "bfloat16 batch,heads,seq,dim",
    },
    dev=DEV,
    draw=DRAW,
    tiny=TINY,
    flops=lambda a: 2.5 * causal(a),
    math="bfloat16",
    tolerance={"rms_atol": 0.2},
)
def attention_backward(grad, q, k, v):
    """Gradients of causal attention with respect to q, k and v (the forward is recomputed)."""
    acc = torch.promote_types(q.dtype, torch.float32)
    scale, n = q.shape[-1] ** -0.5, q.shape[2]
    s = (q @ k.transpose(-1, -2)).to(acc) * scale
    p = torch.softmax(s.masked_fill(torch.ones(n, n, dtype=torch.bool, device=q.device).triu(1), float("-inf")), dim=-1)
    dp = (grad @ v.transpose(-1, -2)).to(acc)
    ds = (p * (dp - (dp * p).sum(-1, keepdim=True)) * scale).to(q.dtype)
    return ds @ k, ds.transpose(-1, -2) @ q, p.to(q.dtype).transpose(-1, -2) @ grad


def paged_make(sizes, generator, device, rand):
    """Sequence lengths of 3/4 of the slots or more, and a page table without sharing; pages in random order."""
    b, slots = sizes["batch"], sizes["slots"]
    lengths = torch.randint(12 * slots, slots * 16 + 1, (b,), generator=generator, device=device)
    table = torch.randperm(sizes["pages"], generator=generator, device=device)[: b * slots].reshape(b, slots)
    return {"lengths": lengths.to(torch.int32), "table": table.to(torch.int32)}


@problem(
    "attention",
    inputs={
        "q": "bfloat16 batch,heads,dim randn",
        "k_cache": "bfloat16 pages,sixteen,kv_heads,dim randn",
        "v_cache": "bfloat16 pages,sixteen,kv_heads,dim randn",
        "table": "int32 batch,slots made",
        "lengths": "int32 batch made",
    },
    outputs={"out": "bfloat16 batch,heads,dim"},
    const={"sixteen": 16, "ratio": 4},
    derived={"heads": "kv_heads * ratio", "pages": "batch * slots"},
    make=paged_make,
    dev={
        "batch": [1, 8, 32, 64, 16, 5],
        "kv_heads": [8, 8, 8, 8, 4, 2],
        "slots": [64, 32, 64, 32, 128, 37],
        "dim": [128] * 6,
    },
    draw={"batch": (1, 32, 1), "kv_heads": [1, 2, 4, 8], "slots": (1, 64, 1), "dim": [64, 128]},
    tiny={"batch": [2, 3], "kv_heads": [1, 2], "slots": [2, 1], "dim": [16, 32]},
    math="bfloat16",
    flops=lambda a: 3.0 * a["batch"] * a["heads"] * a["dim"] * a["slots"] * 16,
    bytes_moved=lambda a: 3.0 * a["batch"] * a["slots"] * 16 * a["kv_heads"] * a["dim"],
)
def gqa_paged_decode(q, k_cache, v_cache, table, lengths):
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


@problem(
    "attention",
    inputs={
        "q_nope": "bfloat16 batch,heads,latent fan_last",
        "q_rope": "bfloat16 batch,heads,rope randn",
        "cache": "bfloat16 batch,context,latent randn",
        "k_rope": "bfloat16 batch,context,rope randn",
    },
    outputs={"out": "bfloat16 batch,heads,latent"},
    const={"latent": 512, "rope": 64, "heads": 16},
    dev={"batch": [1, 4, 16, 32, 64, 7], "context": [1024, 2048, 1024, 1024, 512, 1999]},
    draw={"batch": (1, 32, 1), "context": (1, 2048, 1)},
    tiny={"batch": [1, 2], "context": [5, 9]},
    math="bfloat16",
    flops=lambda a: 2.0 * a["batch"] * 16 * a["context"] * (512 * 2 + 64),
)
def mla_decode(q_nope, q_rope, cache, k_rope):
    """Latent attention: scores (q_nope . cache + q_rope . k_rope) / sqrt(192), values are the latent cache itself."""
    acc = torch.promote_types(q_nope.dtype, torch.float32)
    c = cache.to(acc)
    s = torch.einsum("bhl,btl->bht", q_nope.to(acc), c) + torch.einsum("bhr,btr->bht", q_rope.to(acc), k_rope.to(acc))
    return torch.einsum("bht,btl->bhl", torch.softmax(s * 192**-0.5, dim=-1), c).to(q_nope.dtype)
