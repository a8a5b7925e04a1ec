"""gemm_fp8_block: c = sum over blocks of 128 of k: (a block @ b block^T) * a_scale * b_scale; b's scales are per 128 x 128 block.

Inputs:
    a: float8_e4m3fn [m, k]
    a_scale: float32 [m, blocks]
    b: float8_e4m3fn [n, k]
    b_scale: float32 [n_blocks, blocks]
Outputs:
    c: bfloat16 [m, n]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(a, a_scale, b, b_scale):
    """c = sum over blocks of 128 of k: (a block @ b block^T) * a_scale * b_scale; b's scales are per 128 x 128 block."""
    acc = torch.promote_types(a_scale.dtype, torch.float32)
    af = a.to(acc) * a_scale.to(acc).repeat_interleave(128, dim=1)
    bf = b.to(acc) * b_scale.to(acc).repeat_interleave(128, dim=0).repeat_interleave(128, dim=1)
    out = af @ bf.T
    return out if acc == torch.float64 else out.to(torch.bfloat16)
