"""Scatter, selection, convolution, quantisation."""

from __future__ import annotations

import torch

from evolve.tasks.sol_execbench.problems import problem


@problem(
    "misc",
    inputs={"grad": "bfloat16 tokens,hidden randn", "ids": "int64 tokens index:vocab", "count": "int64 - axis:vocab"},
    outputs={"grad_table": "float32 vocab,hidden"},
    dev={
        "tokens": [128, 1024, 4096, 8192, 16384, 3001],
        "hidden": [1024, 1024, 1024, 512, 256, 768],
        "vocab": [4096, 8192, 32000, 32000, 50257, 1000],
    },
    draw={"tokens": (1, 8192, 1), "hidden": (32, 1024, 8), "vocab": (100, 32000, 1)},
    tiny={"tokens": [9, 30], "hidden": [16, 8], "vocab": [12, 10]},
)
def embedding_backward(grad, ids, count):
    """grad_table[v] = sum of grad[t] over tokens with ids[t] == v, in float32; repeats are common."""
    acc = torch.promote_types(grad.dtype, torch.float32)
    table = torch.zeros(count, grad.shape[1], dtype=acc, device=grad.device)
    return table.index_add_(0, ids, grad.to(acc))


@problem(
    "misc",
    inputs={"x": "int32 count index:bins", "size": "int64 - axis:bins"},
    outputs={"counts": "int32 bins"},
    dev={"count": [4096, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1_000_003], "bins": [256, 256, 1024, 4096, 256, 1000]},
    draw={"count": (1, 1 << 22, 1), "bins": (16, 4096, 1)},
    tiny={"count": [64, 200], "bins": [16, 17]},
    tolerance={"ratio": 1.0},
)
def histogram(x, size):
    """How often each value 0..size-1 occurs."""
    return torch.bincount(x, minlength=size).to(torch.int32)


@problem(
    "misc",
    inputs={"x": "float32 rows,length randn"},
    outputs={"values": "float32 rows,thirty_two", "indices": "int32 rows,thirty_two"},
    const={"thirty_two": 32},
    dev={"rows": [1, 16, 64, 256, 1024, 33], "length": [32000, 32000, 65536, 8192, 4096, 50257]},
    draw={"rows": (1, 512, 1), "length": (64, 32768, 1)},
    tiny={"rows": [2, 5], "length": [40, 100]},
)
def topk(x):
    """The 32 largest values of each row in falling order, with their indices (values are distinct)."""
    found = torch.topk(x, 32, dim=-1)
    return found.values, found.indices.to(torch.int32)


@problem(
    "misc",
    inputs={
        "x": "bfloat16 batch,channels,length randn",
        "weight": "bfloat16 channels,four randn",
        "bias": "bfloat16 channels randn",
    },
    outputs={"y": "bfloat16 batch,channels,length"},
    const={"four": 4},
    dev={
        "batch": [1, 2, 4, 8, 8, 1],
        "channels": [1024, 2048, 4096, 2048, 4096, 1536],
        "length": [512, 1024, 2048, 2048, 1024, 3333],
    },
    draw={"batch": (1, 8, 1), "channels": (8, 4096, 1), "length": (1, 2048, 1)},
    tiny={"batch": [1, 2], "channels": [3, 8], "length": [9, 17]},
)
def conv1d_causal(x, weight, bias):
    """Depthwise causal convolution of width 4 with bias, then silu."""
    acc = torch.promote_types(x.dtype, torch.float32)
    padded = torch.nn.functional.pad(x.to(acc), (3, 0))
    y = sum(padded[..., i : i + x.shape[-1]] * weight.to(acc)[:, i, None] for i in range(4)) + bias.to(acc)[:, None]
    return (y * torch.sigmoid(y)).to(x.dtype)


@problem(
    "misc",
    inputs={"x": "bfloat16 rows,cols randn"},
    outputs={"q": "int8 cols,rows", "scale": "float32 cols"},
    dev={"rows": [128, 1024, 4096, 8192, 4096, 1001], "cols": [4096, 4096, 4096, 4096, 11008, 3001]},
    draw={"rows": (1, 8192, 1), "cols": (16, 8192, 1)},
    tiny={"rows": [24, 31], "cols": [32, 17]},
    tolerance={"steps": 1},
)
def transpose_quant(x):
    """scale[c] = max |x[:, c]| / 127; q = x^T / scale, rounded to the nearest whole number (one step of slack)."""
    acc = torch.promote_types(x.dtype, torch.float32)
    t = x.to(acc).T.contiguous()
    scale = t.abs().amax(-1).clamp(min=1e-12) / 127
    return torch.round(t / scale[:, None]).clamp(-127, 127).to(torch.int8), scale
