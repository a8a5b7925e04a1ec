"""rmsnorm_backward: Gradients of rmsnorm (eps 1e-6) with respect to x and weight; grad_weight is summed over rows in float32.

Inputs:
    grad: bfloat16 [rows, hidden]
    x: bfloat16 [rows, hidden]
    weight: bfloat16 [hidden]
Outputs:
    grad_x: bfloat16 [rows, hidden]
    grad_weight: float32 [hidden]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(grad, x, weight):
    """Gradients of rmsnorm (eps 1e-6) with respect to x and weight; grad_weight is summed over rows in float32."""
    acc = torch.promote_types(x.dtype, torch.float32)
    h, g = x.to(acc), grad.to(acc)
    inv = torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)
    normed = h * inv
    gw = g * weight.to(acc)
    grad_x = inv * (gw - normed * (gw * normed).mean(-1, keepdim=True))
    return grad_x.to(x.dtype), (g * normed).sum(0)
