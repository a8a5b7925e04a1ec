"""Matrix products. Compute-bound when square, bandwidth-bound when skinny."""

from __future__ import annotations

import torch

from evolve.tasks.sol_execbench.problems import problem

MNK = {
    "m": [512, 1024, 2048, 4096, 8192, 1000],
    "n": [512, 4096, 2048, 4096, 4096, 3000],
    "k": [512, 1024, 4096, 4096, 4096, 2000],
}
DRAW = {"m": (1, 4096, 1), "n": (64, 4096, 8), "k": (64, 4096, 8)}
TINY = {"m": [5, 16], "n": [24, 32], "k": [32, 40]}


def product(a):
    return 2.0 * a["m"] * a["n"] * a["k"]


@problem(
    "gemm",
    inputs={"a": "bfloat16 m,k randn", "b": "bfloat16 k,n fan"},
    outputs={"c": "bfloat16 m,n"},
    dev=MNK,
    draw=DRAW,
    tiny=TINY,
    flops=product,
    math="bfloat16",
)
def gemm_square(a, b):
    """c = a @ b, accumulated in float32."""
    return a @ b


@problem(
    "gemm",
    inputs={"x": "bfloat16 m,k randn", "w": "bfloat16 n,k fan_last"},
    outputs={"y": "bfloat16 m,n"},
    dev={
        "m": [1, 2, 4, 8, 16, 8],
        "n": [4096, 14336, 4096, 4096, 8192, 28672],
        "k": [4096, 4096, 14336, 4096, 8192, 4096],
    },
    draw={"m": (1, 16, 1), "n": (256, 16384, 8), "k": (256, 8192, 8)},
    tiny={"m": [1, 4], "n": [32, 24], "k": [64, 32]},
    flops=product,
    math="bfloat16",
)
def gemm_skinny(x, w):
    """y = x @ w^T for a handful of rows: the weights' traffic is the limit."""
    return x @ w.T


@problem(
    "gemm",
    inputs={"a": "bfloat16 m,k randn", "b": "bfloat16 k,n fan"},
    outputs={"c": "float32 m,n"},
    dev={
        "m": [64, 128, 64, 256, 128, 96],
        "n": [64, 128, 256, 256, 64, 72],
        "k": [16384, 32768, 65536, 16384, 131072, 40000],
    },
    draw={"m": (16, 256, 1), "n": (16, 256, 8), "k": (8192, 65536, 8)},
    tiny={"m": [8, 5], "n": [16, 8], "k": [256, 512]},
    flops=product,
    math="bfloat16",
    tolerance={"rms_atol": 5e-4, "rtol": 5e-4},
)
def gemm_split_k(a, b):
    """c = a @ b in float32 for a small c and a very long k."""
    acc = torch.promote_types(a.dtype, torch.float32)
    if a.dtype == torch.float64 or not a.is_cuda:
        return a.to(acc) @ b.to(acc)
    return torch.mm(a, b, out_dtype=torch.float32)


@problem(
    "gemm",
    inputs={"a": "bfloat16 batch,m,k randn", "b": "bfloat16 batch,k,n fan"},
    outputs={"c": "bfloat16 batch,m,n"},
    dev={
        "batch": [4, 16, 64, 128, 32, 24],
        "m": [512, 256, 128, 64, 512, 100],
        "n": [512, 256, 128, 64, 512, 200],
        "k": [512, 256, 128, 128, 64, 104],
    },
    draw={"batch": (1, 64, 1), "m": (1, 512, 1), "n": (16, 512, 8), "k": (16, 512, 8)},
    tiny={"batch": [2, 3], "m": [5, 8], "n": [16, 8], "k": [16, 24]},
    flops=lambda a: a["batch"] * product(a),
    math="bfloat16",
)
def gemm_batched(a, b):
    """c[i] = a[i] @ b[i]."""
    return torch.bmm(a, b)


def grouped_make(sizes, generator, device, rand):
    """Row counts of the groups from the stream: some empty, one large."""
    g, m = sizes["groups"], sizes["m"]
    cuts = torch.randint(0, m + 1, (g - 1,), generator=generator, device=device).sort().values
    offsets = torch.cat(
        (torch.zeros(1, dtype=torch.int64, device=device), cuts, torch.full((1,), m, dtype=torch.int64, device=device))
    )
    return {"offsets": offsets.to(torch.int32)}


@problem(
    "gemm",
    inputs={"x": "bfloat16 m,k randn", "w": "bfloat16 groups,k,n fan", "offsets": "int32 ends made"},
    outputs={"y": "bfloat16 m,n"},
    dev={
        "m": [512, 2048, 4096, 4096, 1024, 777],
        "n": [1024, 1024, 2048, 1024, 512, 768],
        "k": [1024, 1024, 1024, 2048, 512, 768],
        "groups": [4, 8, 8, 16, 32, 8],
    },
    draw={"m": (16, 2048, 1), "n": (64, 2048, 8), "k": (64, 2048, 8), "groups": [2, 4, 8, 16]},
    tiny={"m": [24, 31], "n": [16, 8], "k": [16, 32], "groups": [3, 4]},
    derived={"ends": "groups + 1"},
    make=grouped_make,
    flops=product,
    math="bfloat16",  # one group at least is not empty
    bytes_moved=lambda a: 2.0 * (a["m"] * a["k"] + a["m"] * a["n"] + a["k"] * a["n"]),
)
def gemm_grouped(x, w, offsets):
    """Rows offsets[i]..offsets[i+1] of x times w[i]; groups may be empty."""
    y = torch.empty(x.shape[0], w.shape[2], dtype=x.dtype, device=x.device)
    ends = offsets.tolist()
    for i in range(w.shape[0]):
        if ends[i] < ends[i + 1]:
            y[ends[i] : ends[i + 1]] = x[ends[i] : ends[i + 1]] @ w[i]
    return y


@problem(
    "gemm",
    inputs={"a": "bfloat16 m,k randn", "b": "bfloat16 k,n fan", "bias": "bfloat16 n randn"},
    outputs={"c": "bfloat16 m,n"},
    dev=MNK,
    draw=DRAW,
    tiny=TINY,
    flops=product,
    math="bfloat16",
)
def gemm_bias_gelu(a, b, bias):
    """gelu (tanh form) of a @ b + bias."""
    acc = torch.promote_types(a.dtype, torch.float32)
    h = (a @ b).to(acc) + bias.to(acc)
    return torch.nn.functional.gelu(h, approximate="tanh").to(a.dtype)


@problem(
    "gemm",
    inputs={"x": "bfloat16 m,k randn", "gate": "bfloat16 k,n fan", "up": "bfloat16 k,n fan"},
    outputs={"y": "bfloat16 m,n"},
    dev=MNK,
    draw=DRAW,
    tiny=TINY,
    flops=lambda a: 2 * product(a),
    math="bfloat16",
)
def gemm_dual_swiglu(x, gate, up):
    """silu(x @ gate) * (x @ up)."""
    acc = torch.promote_types(x.dtype, torch.float32)
    g = (x @ gate).to(acc)
    return (g * torch.sigmoid(g) * (x @ up).to(acc)).to(x.dtype)


@problem(
    "gemm",
    inputs={
        "a": "float8_e4m3fn m,k randn",
        "a_scale": "float32 m,blocks scale",
        "b": "float8_e4m3fn n,k randn",
        "b_scale": "float32 n_blocks,blocks scale",
    },
    outputs={"c": "bfloat16 m,n"},
    derived={"blocks": "k // 128", "n_blocks": "n // 128"},
    dev={
        "m": [64, 512, 2048, 4096, 1024, 777],
        "n": [1024, 2048, 2048, 4096, 7168, 1536],
        "k": [1024, 2048, 2048, 4096, 2048, 1536],
    },
    draw={"m": (1, 4096, 1), "n": (128, 4096, 128), "k": (128, 4096, 128)},
    tiny={"m": [4, 7], "n": [128, 128], "k": [128, 256]},
    flops=product,
    math="float8_e4m3fn",
)
def gemm_fp8_block(a, a_scale, b, b_scale):
    """c = sum over blocks of 128 of k: (a block @ b block^T) * a_scale * b_scale; b's scales are per 128 x 128 block."""
    acc = torch.promote_types(a_scale.dtype, torch.float32)
    af = a.to(acc) * a_scale.to(acc).repeat_interleave(128, dim=1)
    bf = b.to(acc) * b_scale.to(acc).repeat_interleave(128, dim=0).repeat_interleave(128, dim=1)
    out = af @ bf.T
    return out if acc == torch.float64 else out.to(torch.bfloat16)


@problem(
    "gemm",
    inputs={"x": "bfloat16 m,k randn", "w": "int8 n,k int8", "scale": "float32 n scale"},
    outputs={"y": "bfloat16 m,n"},
    dev={
        "m": [1, 8, 16, 64, 512, 2048],
        "n": [4096, 4096, 14336, 4096, 4096, 4096],
        "k": [4096, 4096, 4096, 4096, 4096, 4096],
    },
    draw={"m": (1, 512, 1), "n": (256, 8192, 8), "k": (256, 8192, 8)},
    tiny={"m": [3, 8], "n": [16, 24], "k": [32, 64]},
    flops=product,
    math="bfloat16",
)
def gemm_int8_weight(x, w, scale):
    """y = (x @ w^T) * scale, weights in int8 with one float32 scale an output channel."""
    acc = torch.promote_types(x.dtype, torch.float32)
    return ((x @ w.to(x.dtype).T).to(acc) * scale.to(acc)).to(x.dtype)


@problem(
    "gemm",
    inputs={"grad": "bfloat16 m,n fan_last", "x": "bfloat16 m,k randn", "w": "bfloat16 k,n randn"},
    outputs={"grad_x": "bfloat16 m,k", "grad_w": "bfloat16 k,n", "grad_bias": "float32 n"},
    dev=MNK,
    draw=DRAW,
    tiny=TINY,
    flops=lambda a: 2 * product(a),
    math="bfloat16",
)
def gemm_backward(grad, x, w):
    """Gradients of y = x @ w + bias: grad @ w^T, x^T @ grad, and grad summed over rows in float32."""
    acc = torch.promote_types(grad.dtype, torch.float32)
    return grad @ w.T, x.T @ grad, grad.to(acc).sum(0)
