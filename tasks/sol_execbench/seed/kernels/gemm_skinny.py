"""gemm_skinny: y = x @ w^T for a handful of rows: the weights' traffic is the limit.

Inputs:
    x: bfloat16 [m, k]
    w: bfloat16 [n, k]
Outputs:
    y: bfloat16 [m, n]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(x, w):
    """y = x @ w^T for a handful of rows: the weights' traffic is the limit."""
    return x @ w.T
