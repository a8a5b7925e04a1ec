"""adamw_step: One AdamW step out of place: lr 0.01, betas 0.9 and 0.95, eps 1e-8, weight decay 0.1, bias-corrected by `step`.

Inputs:
    param: float32 [count]
    grad: float32 [count]
    exp_avg: float32 [count]
    exp_avg_sq: float32 [count]
    step: float32
Outputs:
    param_new: float32 [count]
    exp_avg_new: float32 [count]
    exp_avg_sq_new: float32 [count]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(param, grad, exp_avg, exp_avg_sq, step):
    """One AdamW step out of place: lr 0.01, betas 0.9 and 0.95, eps 1e-8, weight decay 0.1, bias-corrected by `step`."""
    m = 0.9 * exp_avg + 0.1 * grad
    v = 0.95 * exp_avg_sq + 0.05 * grad * grad
    m_hat = m / (1 - 0.9**step)
    v_hat = v / (1 - 0.95**step)
    return param * (1 - 0.01 * 0.1) - 0.01 * m_hat / (v_hat.sqrt() + 1e-8), m, v
