"""Normalisations, forward and backward. Memory-bound: one pass over the data is the limit."""

from __future__ import annotations

import torch

from evolve.tasks.sol_execbench.problems import problem

ROWS = {"rows": [1, 128, 1024, 4096, 8192, 3001], "hidden": [4096, 2048, 4096, 4096, 2048, 5120]}
DRAW = {"rows": (1, 8192, 1), "hidden": (256, 8192, 64)}
TINY = {"rows": [3, 17], "hidden": [128, 96]}


@problem(
    "norm",
    inputs={"x": "bfloat16 rows,hidden randn", "weight": "bfloat16 hidden weight"},
    outputs={"y": "bfloat16 rows,hidden"},
    dev=ROWS,
    draw=DRAW,
    tiny=TINY,
)
def rmsnorm(x, weight):
    """y = x / sqrt(mean(x^2) + 1e-6) * weight, over the last axis."""
    acc = torch.promote_types(x.dtype, torch.float32)
    h = x.to(acc)
    return (h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6) * weight.to(acc)).to(x.dtype)


@problem(
    "norm",
    inputs={
        "x": "bfloat16 rows,hidden randn",
        "residual": "bfloat16 rows,hidden randn",
        "weight": "bfloat16 hidden weight",
    },
    outputs={"y": "bfloat16 rows,hidden", "total": "bfloat16 rows,hidden"},
    dev=ROWS,
    draw=DRAW,
    tiny=TINY,
)
def add_rmsnorm(x, residual, weight):
    """total = x + residual (rounded to its dtype); y = rmsnorm(total) * weight, eps 1e-6."""
    acc = torch.promote_types(x.dtype, torch.float32)
    total = (x.to(acc) + residual.to(acc)).to(x.dtype)
    h = total.to(acc)
    y = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6) * weight.to(acc)
    return y.to(x.dtype), total


@problem(
    "norm",
    inputs={"x": "float16 rows,hidden randn", "weight": "float16 hidden weight", "bias": "float16 hidden randn"},
    outputs={"y": "float16 rows,hidden"},
    dev=ROWS,
    draw=DRAW,
    tiny=TINY,
)
def layernorm(x, weight, bias):
    """Layer normalisation with weight and bias over the last axis, eps 1e-5."""
    acc = torch.promote_types(x.dtype, torch.float32)
    h = x.to(acc)
    mean = h.mean(-1, keepdim=True)
    var = (h - mean).pow(2).mean(-1, keepdim=True)
    return ((h - mean) * torch.rsqrt(var + 1e-5) * weight.to(acc) + bias.to(acc)).to(x.dtype)


@problem(
    "norm",
    inputs={
        "x": "bfloat16 batch,channels,pixels randn",
        "weight": "bfloat16 channels weight",
        "bias": "bfloat16 channels randn",
    },
    outputs={"y": "bfloat16 batch,channels,pixels"},
    const={"groups": 32},
    dev={
        "batch": [1, 2, 4, 8, 16, 3],
        "channels": [320, 320, 640, 512, 320, 1280],
        "pixels": [4096, 4096, 1024, 1024, 4096, 289],
    },
    draw={"batch": (1, 16, 1), "channels": (64, 1280, 32), "pixels": (16, 4096, 1)},
    tiny={"batch": [1, 2], "channels": [64, 32], "pixels": [15, 16]},
)
def groupnorm(x, weight, bias):
    """Group normalisation with 32 groups of channels, eps 1e-5."""
    acc = torch.promote_types(x.dtype, torch.float32)
    b, c, n = x.shape
    h = x.to(acc).reshape(b, 32, -1)
    mean = h.mean(-1, keepdim=True)
    var = (h - mean).pow(2).mean(-1, keepdim=True)
    y = ((h - mean) * torch.rsqrt(var + 1e-5)).reshape(b, c, n)
    return (y * weight.to(acc)[None, :, None] + bias.to(acc)[None, :, None]).to(x.dtype)


@problem(
    "norm",
    inputs={
        "q": "bfloat16 tokens,q_heads,head_dim randn",
        "k": "bfloat16 tokens,kv_heads,head_dim randn",
        "q_weight": "bfloat16 head_dim weight",
        "k_weight": "bfloat16 head_dim weight",
    },
    outputs={"q_normed": "bfloat16 tokens,q_heads,head_dim", "k_normed": "bfloat16 tokens,kv_heads,head_dim"},
    dev={
        "tokens": [1, 64, 1024, 4096, 2049, 8192],
        "q_heads": [32, 32, 32, 16, 32, 16],
        "kv_heads": [8, 8, 8, 4, 2, 8],
        "head_dim": [128] * 6,
    },
    draw={"tokens": (1, 8192, 1), "q_heads": [8, 16, 24, 32], "kv_heads": [1, 2, 4, 8], "head_dim": [64, 96, 128, 256]},
    tiny={"tokens": [3, 5], "q_heads": [4, 2], "kv_heads": [2, 1], "head_dim": [32, 64]},
)
def qk_norm(q, k, q_weight, k_weight):
    """rmsnorm of every head of queries and keys, each with its own weight, eps 1e-6."""
    acc = torch.promote_types(q.dtype, torch.float32)
    out = []
    for x, w in ((q, q_weight), (k, k_weight)):
        h = x.to(acc)
        out.append((h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6) * w.to(acc)).to(x.dtype))
    return out[0], out[1]


@problem(
    "norm",
    inputs={
        "grad": "bfloat16 rows,hidden randn",
        "x": "bfloat16 rows,hidden randn",
        "weight": "bfloat16 hidden weight",
    },
    outputs={"grad_x": "bfloat16 rows,hidden", "grad_weight": "float32 hidden"},
    dev=ROWS,
    draw=DRAW,
    tiny=TINY,
)
def rmsnorm_backward(grad, x, weight):
    """Gradients of rmsnorm (eps 1e-6) with respect to x and weight; grad_weight is summed over rows in float32."""
    acc = torch.promote_types(x.dtype, torch.float32)
    h, g = x.to(acc), grad.to(acc)
    inv = torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)
    normed = h * inv
    gw = g * weight.to(acc)
    grad_x = inv * (gw - normed * (gw * normed).mean(-1, keepdim=True))
    return grad_x.to(x.dtype), (g * normed).sum(0)
