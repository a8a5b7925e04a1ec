"""Rotary position embeddings: memory-bound, with awkward access patterns."""

from __future__ import annotations

import torch

from evolve.tasks.sol_execbench.problems import problem

DEV = {
    "batch": [1, 1, 2, 4, 8, 1],
    "seq": [1, 512, 2048, 2048, 1024, 4099],
    "heads": [32, 32, 32, 16, 32, 24],
    "dim": [128] * 6,
}
DRAW = {"batch": (1, 8, 1), "seq": (1, 4096, 1), "heads": (1, 32, 1), "dim": [64, 128]}
TINY = {"batch": [1, 2], "seq": [3, 4], "heads": [2, 1], "dim": [16, 32]}
HALF = {"half": "dim // 2"}
X = "bfloat16 batch,seq,heads,dim randn"
OUT = {"y": "bfloat16 batch,seq,heads,dim"}


@problem(
    "rope",
    inputs={"x": X, "cos": "float32 seq,half unit2", "sin": "float32 seq,half unit2"},
    outputs=OUT,
    derived=HALF,
    dev=DEV,
    draw=DRAW,
    tiny=TINY,
)
def rope_neox(x, cos, sin):
    """Halves rotated against each other: [a, b] -> [a cos - b sin, b cos + a sin]."""
    acc = torch.promote_types(x.dtype, torch.float32)
    a, b = x.to(acc).chunk(2, dim=-1)
    c, s = cos.to(acc)[None, :, None, :], sin.to(acc)[None, :, None, :]
    return torch.cat((a * c - b * s, b * c + a * s), dim=-1).to(x.dtype)


@problem(
    "rope",
    inputs={"x": X, "cos": "float32 seq,half unit2", "sin": "float32 seq,half unit2"},
    outputs=OUT,
    derived=HALF,
    dev=DEV,
    draw=DRAW,
    tiny=TINY,
)
def rope_interleaved(x, cos, sin):
    """Neighbours rotated: (x0, x1) -> (x0 cos - x1 sin, x1 cos + x0 sin)."""
    acc = torch.promote_types(x.dtype, torch.float32)
    a, b = x[..., 0::2].to(acc), x[..., 1::2].to(acc)
    c, s = cos.to(acc)[None, :, None, :], sin.to(acc)[None, :, None, :]
    return torch.stack((a * c - b * s, b * c + a * s), dim=-1).flatten(-2).to(x.dtype)


@problem(
    "rope",
    inputs={"x": X, "cos": "float32 seq,quarter unit2", "sin": "float32 seq,quarter unit2"},
    outputs=OUT,
    derived={"quarter": "dim // 4"},
    dev=DEV,
    draw=DRAW,
    tiny=TINY,
)
def rope_partial(x, cos, sin):
    """Only the first half of each head is rotated (neox style); the rest passes through."""
    acc = torch.promote_types(x.dtype, torch.float32)
    rot, rest = x.chunk(2, dim=-1)
    a, b = rot.to(acc).chunk(2, dim=-1)
    c, s = cos.to(acc)[None, :, None, :], sin.to(acc)[None, :, None, :]
    turned = torch.cat((a * c - b * s, b * c + a * s), dim=-1).to(x.dtype)
    return torch.cat((turned, rest), dim=-1)


@problem(
    "rope",
    inputs={
        "x": X,
        "position": "int32 three,batch,seq index:span",
        "cos": "float32 span,half unit2",
        "sin": "float32 span,half unit2",
    },
    outputs=OUT,
    const={"three": 3},
    derived={"half": "dim // 2", "span": "seq + 64"},
    dev=DEV,
    draw=DRAW,
    tiny=TINY,
    bytes_moved=lambda a: 2 * 2 * a["batch"] * a["seq"] * a["heads"] * a["dim"] + 12 * a["batch"] * a["seq"],
)
def rope_mrope(x, position, cos, sin):
    """Multimodal rotation: channel i of each half takes the position of axis i % 3 (time, height, width), neox halves."""
    acc = torch.promote_types(x.dtype, torch.float32)
    half = x.shape[-1] // 2
    axis = torch.arange(half, device=x.device) % 3
    where = position.long()[axis].permute(1, 2, 0)
    channel = torch.arange(half, device=x.device).expand_as(where)
    c, s = cos.to(acc)[where, channel][:, :, None, :], sin.to(acc)[where, channel][:, :, None, :]
    a, b = x.to(acc).chunk(2, dim=-1)
    return torch.cat((a * c - b * s, b * c + a * s), dim=-1).to(x.dtype)
