"""cross_entropy_backward: grad[row] * (softmax(logits) - onehot(target)).

Inputs:
    logits: bfloat16 [rows, vocab]
    target: int64 [rows]
    grad: float32 [rows]
Outputs:
    grad_logits: bfloat16 [rows, vocab]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(logits, target, grad):
    """grad[row] * (softmax(logits) - onehot(target))."""
    acc = torch.promote_types(logits.dtype, torch.float32)
    p = torch.softmax(logits.to(acc), dim=-1)
    p[torch.arange(p.shape[0], device=p.device), target] -= 1
    return (p * grad.to(acc)[:, None]).to(logits.dtype)
