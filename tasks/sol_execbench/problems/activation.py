"""Elementwise chains. Memory-bound: every byte read once, every byte written once."""

from __future__ import annotations

import torch

from evolve.tasks.sol_execbench.problems import problem

ROWS = {"rows": [1, 256, 2048, 4096, 8192, 1023], "inner": [11008, 8192, 4096, 4096, 2816, 5461]}
DRAW = {"rows": (1, 8192, 1), "inner": (128, 8192, 1)}
TINY = {"rows": [3, 9], "inner": [64, 33]}
FLAT = {"count": [4096, 1 << 18, 1 << 22, 1 << 24, 3_000_017, 1 << 25]}


@problem(
    "activation",
    inputs={"gate": "bfloat16 rows,inner randn", "up": "bfloat16 rows,inner randn"},
    outputs={"y": "bfloat16 rows,inner"},
    dev=ROWS,
    draw=DRAW,
    tiny=TINY,
)
def swiglu(gate, up):
    """silu(gate) * up."""
    acc = torch.promote_types(gate.dtype, torch.float32)
    g = gate.to(acc)
    return (g * torch.sigmoid(g) * up.to(acc)).to(gate.dtype)


@problem(
    "activation",
    inputs={"x": "bfloat16 rows,double randn"},
    outputs={"y": "bfloat16 rows,inner"},
    derived={"double": "inner * 2"},
    dev=ROWS,
    draw=DRAW,
    tiny=TINY,
)
def geglu(x):
    """x = [gate, up] along the last axis; gelu (tanh form) of gate, times up."""
    acc = torch.promote_types(x.dtype, torch.float32)
    gate, up = x.to(acc).chunk(2, dim=-1)
    return (torch.nn.functional.gelu(gate, approximate="tanh") * up).to(x.dtype)


@problem(
    "activation",
    inputs={"x": "float16 rows,inner randn", "bias": "float16 inner randn"},
    outputs={"y": "float16 rows,inner"},
    dev=ROWS,
    draw=DRAW,
    tiny=TINY,
)
def gelu_bias(x, bias):
    """Exact gelu of x + bias."""
    acc = torch.promote_types(x.dtype, torch.float32)
    return torch.nn.functional.gelu(x.to(acc) + bias.to(acc)).to(x.dtype)


@problem(
    "activation",
    inputs={"x": "bfloat16 rows,double randn"},
    outputs={"y": "bfloat16 rows,inner"},
    derived={"double": "inner * 2"},
    dev=ROWS,
    draw=DRAW,
    tiny=TINY,
)
def clamp_swish(x):
    """Gate and value interleaved along the last axis: gate clamped above 7, value clamped to [-7, 7];
    gate * sigmoid(1.702 gate) * (value + 1)."""
    acc = torch.promote_types(x.dtype, torch.float32)
    gate = x[..., 0::2].to(acc).clamp(max=7.0)
    value = x[..., 1::2].to(acc).clamp(-7.0, 7.0)
    return (gate * torch.sigmoid(1.702 * gate) * (value + 1)).to(x.dtype)


@problem(
    "activation",
    inputs={
        "param": "float32 count randn",
        "grad": "float32 count randn",
        "exp_avg": "float32 count randn",
        "exp_avg_sq": "float32 count positive",
        "step": "float32 - step",
    },
    outputs={"param_new": "float32 count", "exp_avg_new": "float32 count", "exp_avg_sq_new": "float32 count"},
    dev=FLAT,
    draw={"count": (1, 1 << 24, 1)},
    tiny={"count": [65, 100]},
)
def adamw_step(param, grad, exp_avg, exp_avg_sq, step):
    """One AdamW step out of place: lr 0.01, betas 0.9 and 0.95, eps 1e-8, weight decay 0.1, bias-corrected by `step`."""
    m = 0.9 * exp_avg + 0.1 * grad
    v = 0.95 * exp_avg_sq + 0.05 * grad * grad
    m_hat = m / (1 - 0.9**step)
    v_hat = v / (1 - 0.95**step)
    return param * (1 - 0.01 * 0.1) - 0.01 * m_hat / (v_hat.sqrt() + 1e-8), m, v


@problem(
    "activation",
    inputs={
        "x": "bfloat16 rows,inner randn",
        "residual": "bfloat16 rows,inner randn",
        "keep": "bool rows,inner mask",
        "p": "float32 - p",
    },
    outputs={"y": "bfloat16 rows,inner"},
    dev=ROWS,
    draw=DRAW,
    tiny=TINY,
)
def dropout_residual(x, residual, keep, p):
    """residual + x / (1 - p) where `keep`, residual elsewhere."""
    acc = torch.promote_types(x.dtype, torch.float32)
    return (residual.to(acc) + torch.where(keep, x.to(acc) / (1 - p), 0.0)).to(x.dtype)
