"""Scans and state-space recurrences: sequential in form, parallel in blocks."""

from __future__ import annotations

import torch

from evolve.tasks.sol_execbench.problems import problem


@problem(
    "scan",
    inputs={"x": "float32 rows,length randn"},
    outputs={"y": "float32 rows,length"},
    dev={"rows": [1, 16, 128, 512, 2048, 77], "length": [1 << 20, 65536, 16384, 8192, 4096, 10007]},
    draw={"rows": (1, 1024, 1), "length": (16, 16384, 1)},
    tiny={"rows": [2, 5], "length": [65, 128]},
    tolerance={"rms_atol": 1e-4, "rtol": 1e-4},
)
def cumsum(x):
    """Inclusive prefix sum along the last axis."""
    return torch.cumsum(x, dim=-1)


@problem(
    "scan",
    inputs={
        "u": "float32 batch,channels,length randn",
        "delta": "float32 batch,channels,length unit",
        "a": "float32 channels,state decay",
        "b": "float32 batch,state,length randn",
        "c": "float32 batch,state,length randn",
        "d": "float32 channels randn",
    },
    outputs={"y": "float32 batch,channels,length"},
    const={"state": 16},
    dev={
        "batch": [1, 1, 2, 4, 2, 1],
        "channels": [256, 1024, 1024, 512, 2048, 768],
        "length": [256, 512, 1024, 512, 256, 777],
    },
    draw={"batch": (1, 4, 1), "channels": (16, 2048, 1), "length": (1, 1024, 1)},
    tiny={"batch": [1, 2], "channels": [4, 3], "length": [9, 12]},
    ratio_cap=16.0,
)
def selective_scan(u, delta, a, b, c, d):
    """h = exp(delta a) h + delta b u; y = c . h + d u, along the length, 16 states a channel."""
    h = torch.zeros(u.shape[0], u.shape[1], a.shape[1], dtype=u.dtype, device=u.device)
    ys = []
    for t in range(u.shape[2]):
        step = delta[:, :, t, None]
        h = torch.exp(step * a) * h + step * b[:, None, :, t] * u[:, :, t, None]
        ys.append((h * c[:, None, :, t]).sum(-1))
    return torch.stack(ys, dim=-1) + d[None, :, None] * u


@problem(
    "scan",
    inputs={
        "q": "bfloat16 batch,heads,seq,dim fan_last",
        "k": "bfloat16 batch,heads,seq,dim fan_last",
        "v": "bfloat16 batch,heads,seq,dim randn",
        "decay": "float32 heads slow",
    },
    outputs={"out": "bfloat16 batch,heads,seq,dim"},
    dev={
        "batch": [1, 1, 2, 4, 8, 1],
        "heads": [8, 16, 16, 16, 16, 5],
        "seq": [256, 2048, 2048, 1024, 512, 1111],
        "dim": [64, 128, 64, 128, 64, 64],
    },
    draw={"batch": (1, 4, 1), "heads": (1, 16, 1), "seq": (1, 2048, 1), "dim": [32, 64, 128]},
    tiny={"batch": [1, 2], "heads": [2, 1], "seq": [9, 20], "dim": [16, 16]},
    math="bfloat16",
    tolerance={"rms_atol": 3e-2},
    flops=lambda a: 4.0 * a["batch"] * a["heads"] * a["seq"] * a["dim"] * a["dim"],
)
def linear_attention(q, k, v, decay):
    """out[t] = sum over s <= t of exp(decay[head] * (t - s)) (q[t] . k[s]) v[s], decay < 0."""
    acc = torch.promote_types(q.dtype, torch.float32)
    i = torch.arange(q.shape[2], device=q.device)
    gap = (i[:, None] - i[None, :]).to(acc)
    weight = torch.where(gap >= 0, torch.exp(decay.to(acc)[:, None, None] * gap.clamp(min=0)), 0.0)
    scores = (q.to(acc) @ k.to(acc).transpose(-1, -2)) * weight
    return (scores @ v.to(acc)).to(q.dtype)
