"""cross_entropy: -log softmax(logits)[target], one float32 value a row.

Inputs:
    logits: bfloat16 [rows, vocab]
    target: int64 [rows]
Outputs:
    loss: float32 [rows]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(logits, target):
    """-log softmax(logits)[target], one float32 value a row."""
    acc = torch.promote_types(logits.dtype, torch.float32)
    return torch.nn.functional.cross_entropy(logits.to(acc), target, reduction="none")
