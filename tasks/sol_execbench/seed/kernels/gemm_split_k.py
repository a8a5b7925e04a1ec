"""gemm_split_k: c = a @ b in float32 for a small c and a very long k.

Inputs:
    a: bfloat16 [m, k]
    b: bfloat16 [k, n]
Outputs:
    c: float32 [m, n]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(a, b):
    """c = a @ b in float32 for a small c and a very long k."""
    acc = torch.promote_types(a.dtype, torch.float32)
    if a.dtype == torch.float64 or not a.is_cuda:
        return a.to(acc) @ b.to(acc)
    return torch.mm(a, b, out_dtype=torch.float32)
