"""Softmax and losses over a vocabulary, one value a row (no reduction over rows, so that no row can be dropped)."""

from __future__ import annotations

import torch

from evolve.tasks.sol_execbench.problems import problem

DEV = {"rows": [1, 64, 512, 1024, 2048, 333], "vocab": [32000, 32000, 32000, 50257, 32000, 128256]}
DRAW = {"rows": (1, 2048, 1), "vocab": (1000, 65536, 1)}
TINY = {"rows": [3, 12], "vocab": [50, 64]}
LOGITS = "bfloat16 rows,vocab logits"


@problem(
    "loss",
    inputs={"x": "bfloat16 rows,vocab logits"},
    outputs={"y": "bfloat16 rows,vocab"},
    dev=DEV,
    draw=DRAW,
    tiny=TINY,
)
def softmax(x):
    """Softmax over the last axis, computed in float32."""
    acc = torch.promote_types(x.dtype, torch.float32)
    return torch.softmax(x.to(acc), dim=-1).to(x.dtype)


@problem(
    "loss",
    inputs={"x": "float32 rows,vocab logits"},
    outputs={"y": "float32 rows,vocab"},
    dev=DEV,
    draw=DRAW,
    tiny=TINY,
)
def log_softmax(x):
    """Log-softmax over the last axis."""
    return torch.log_softmax(x, dim=-1)


@problem(
    "loss",
    inputs={"logits": LOGITS, "target": "int64 rows index:vocab"},
    outputs={"loss": "float32 rows"},
    dev=DEV,
    draw=DRAW,
    tiny=TINY,
)
def cross_entropy(logits, target):
    """-log softmax(logits)[target], one float32 value a row."""
    acc = torch.promote_types(logits.dtype, torch.float32)
    return torch.nn.functional.cross_entropy(logits.to(acc), target, reduction="none")


@problem(
    "loss",
    inputs={"logits": LOGITS, "target": "int64 rows index:vocab", "grad": "float32 rows randn"},
    outputs={"grad_logits": "bfloat16 rows,vocab"},
    dev=DEV,
    draw=DRAW,
    tiny=TINY,
)
def cross_entropy_backward(logits, target, grad):
    """grad[row] * (softmax(logits) - onehot(target))."""
    acc = torch.promote_types(logits.dtype, torch.float32)
    p = torch.softmax(logits.to(acc), dim=-1)
    p[torch.arange(p.shape[0], device=p.device), target] -= 1
    return (p * grad.to(acc)[:, None]).to(logits.dtype)


@problem(
    "loss",
    inputs={"student": LOGITS, "teacher": LOGITS, "temperature": "float32 - temperature"},
    outputs={"loss": "float32 rows"},
    dev=DEV,
    draw=DRAW,
    tiny=TINY,
)
def kl_distill(student, teacher, temperature):
    """KL(softmax(teacher / T) || softmax(student / T)) * T^2, one float32 value a row."""
    acc = torch.promote_types(student.dtype, torch.float32)
    s = torch.log_softmax(student.to(acc) / temperature, dim=-1)
    t = torch.log_softmax(teacher.to(acc) / temperature, dim=-1)
    return (t.exp() * (t - s)).sum(-1) * temperature**2


@problem(
    "loss",
    inputs={"logits": LOGITS},
    outputs={"loss": "float32 rows", "lse": "float32 rows"},
    dev=DEV,
    draw=DRAW,
    tiny=TINY,
)
def z_loss(logits):
    """lse = logsumexp(logits); loss = 1e-4 * lse^2, one value a row."""
    acc = torch.promote_types(logits.dtype, torch.float32)
    lse = torch.logsumexp(logits.to(acc), dim=-1)
    return 1e-4 * lse * lse, lse
