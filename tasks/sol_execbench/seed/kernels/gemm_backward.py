"""gemm_backward: Gradients of y = x @ w + bias: grad @ w^T, x^T @ grad, and grad summed over rows in float32.

Inputs:
    grad: bfloat16 [m, n]
    x: bfloat16 [m, k]
    w: bfloat16 [k, n]
Outputs:
    grad_x: bfloat16 [m, k]
    grad_w: bfloat16 [k, n]
    grad_bias: float32 [n]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(grad, x, w):
    """Gradients of y = x @ w + bias: grad @ w^T, x^T @ grad, and grad summed over rows in float32."""
    acc = torch.promote_types(grad.dtype, torch.float32)
    return grad @ w.T, x.T @ grad, grad.to(acc).sum(0)
