"""Mixture of experts: routing, permutation, grouped products, combination."""

from __future__ import annotations

import torch

from evolve.tasks.sol_execbench.problems import problem

DEV = {
    "tokens": [1, 64, 512, 2048, 4096, 1023],
    "hidden": [2048, 2048, 2048, 2048, 1024, 1536],
    "experts": [8, 8, 32, 64, 64, 16],
}
DRAW = {"tokens": (1, 4096, 1), "hidden": (64, 2048, 8), "experts": [8, 16, 32, 64]}
TINY = {"tokens": [9, 20], "hidden": [16, 32], "experts": [8, 8]}


@problem(
    "moe",
    inputs={"logits": "float32 tokens,experts randn", "bias": "float32 experts randn"},
    outputs={"weights": "float32 tokens,four", "experts_chosen": "int32 tokens,four"},
    const={"four": 4},
    dev={"tokens": DEV["tokens"], "experts": [8, 64, 128, 256, 64, 160]},
    draw={"tokens": (1, 8192, 1), "experts": [8, 32, 64, 128, 256]},
    tiny={"tokens": [9, 20], "experts": [8, 16]},
)
def topk_route(logits, bias):
    """Sigmoid scores; the 4 experts with the largest score + bias, in falling order; weights are their scores without
    the bias, normalised to sum 1."""
    scores = torch.sigmoid(logits)
    chosen = torch.topk(scores + bias, 4, dim=-1).indices
    w = scores.gather(-1, chosen)
    return w / w.sum(-1, keepdim=True), chosen.to(torch.int32)


def route_make(sizes, generator, device, rand):
    """Two different experts a token, skewed towards the first ones."""
    logits = torch.rand(sizes["tokens"], sizes["experts"], generator=generator, device=device)
    logits[:, : max(sizes["experts"] // 4, 1)] += 0.3
    return {"expert": logits.topk(2, dim=-1).indices.to(torch.int32)}


@problem(
    "moe",
    inputs={"x": "bfloat16 tokens,hidden randn", "expert": "int32 tokens,two made", "count": "int64 - axis:experts"},
    outputs={"rows": "bfloat16 slots,hidden", "offsets": "int32 ends"},
    const={"two": 2},
    derived={"slots": "tokens * 2", "ends": "experts + 1"},
    dev=DEV,
    draw=DRAW,
    tiny=TINY,
    make=route_make,
    bytes_moved=lambda a: 2 * 3 * a["tokens"] * a["hidden"],
)
def moe_permute(x, expert, count):
    """Each token twice, ordered by expert, stable in (token, slot) order; rows offsets[e]..offsets[e+1] are expert e's."""
    flat = expert.flatten().long()
    order = torch.argsort(flat, stable=True)
    sizes = torch.zeros(count, dtype=torch.int64, device=x.device).scatter_add_(0, flat, torch.ones_like(flat))
    offsets = torch.cat((torch.zeros(1, dtype=torch.int64, device=x.device), sizes.cumsum(0)))
    return x[order // 2], offsets.to(torch.int32)


def grouped_make(sizes, generator, device, rand):
    """Row counts of the experts from the stream: some empty, some large."""
    m = sizes["slots"]
    cuts = torch.randint(0, m + 1, (sizes["experts"] - 1,), generator=generator, device=device).sort().values
    first, last = (torch.full((1,), value, dtype=torch.int64, device=device) for value in (0, m))
    return {"offsets": torch.cat((first, cuts, last)).to(torch.int32)}


@problem(
    "moe",
    inputs={
        "x": "bfloat16 slots,hidden randn",
        "gate_up": "bfloat16 experts,hidden,double fan",
        "down": "bfloat16 experts,inner,hidden fan",
        "offsets": "int32 ends made",
    },
    outputs={"y": "bfloat16 slots,hidden"},
    derived={"double": "inner * 2", "ends": "experts + 1"},
    make=grouped_make,
    dev={
        "slots": [64, 512, 2048, 4096, 1024, 999],
        "hidden": [1024, 1024, 1024, 1024, 2048, 768],
        "inner": [512, 512, 512, 512, 768, 384],
        "experts": [8, 8, 16, 32, 16, 8],
    },
    draw={"slots": (8, 4096, 1), "hidden": (64, 1024, 8), "inner": (64, 768, 8), "experts": [4, 8, 16]},
    tiny={"slots": [12, 21], "hidden": [16, 24], "inner": [16, 8], "experts": [3, 4]},
    math="bfloat16",
    tolerance={"rms_atol": 8e-2},
    bytes_moved=lambda a: 2.0 * (2 * a["slots"] + 3 * a["inner"]) * a["hidden"],  # one expert at least has rows
    flops=lambda a: 6.0 * a["slots"] * a["hidden"] * a["inner"],
)
def moe_grouped_ffn(x, gate_up, down, offsets):
    """Rows of expert e: (silu(x @ gate) * (x @ up)) @ down, with gate_up = [gate, up] along its last axis."""
    acc = torch.promote_types(x.dtype, torch.float32)
    y = torch.empty_like(x)
    ends = offsets.tolist()
    for e in range(gate_up.shape[0]):
        if ends[e] < ends[e + 1]:
            gate, up = (x[ends[e] : ends[e + 1]] @ gate_up[e]).to(acc).chunk(2, dim=-1)
            y[ends[e] : ends[e + 1]] = (gate * torch.sigmoid(gate) * up).to(x.dtype) @ down[e]
    return y


def combine_make(sizes, generator, device, rand):
    """Where each token's two rows lie after a permutation."""
    order = torch.randperm(sizes["slots"], generator=generator, device=device)
    return {"row": order.reshape(sizes["tokens"], 2).to(torch.int32)}


@problem(
    "moe",
    inputs={
        "rows": "bfloat16 slots,hidden randn",
        "row": "int32 tokens,two made",
        "weights": "float32 tokens,two unit",
    },
    outputs={"y": "bfloat16 tokens,hidden"},
    const={"two": 2},
    derived={"slots": "tokens * 2"},
    make=combine_make,
    dev={"tokens": DEV["tokens"], "hidden": [4096, 4096, 4096, 4096, 2048, 7168]},
    draw={"tokens": (1, 4096, 1), "hidden": (64, 8192, 8)},
    tiny={"tokens": [9, 20], "hidden": [16, 32]},
)
def moe_combine(rows, row, weights):
    """y[t] = weights[t, 0] * rows[row[t, 0]] + weights[t, 1] * rows[row[t, 1]]."""
    acc = torch.promote_types(rows.dtype, torch.float32)
    return (rows[row.long()].to(acc) * weights.to(acc)[..., None]).sum(1).to(rows.dtype)
