"""topk_route: Sigmoid scores; the 4 experts with the largest score + bias, in falling order; weights are their scores without the bias, normalised to sum 1.

Inputs:
    logits: float32 [tokens, experts]
    bias: float32 [experts]
Outputs:
    weights: float32 [tokens, four]
    experts_chosen: int32 [tokens, four]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(logits, bias):
    """Sigmoid scores; the 4 experts with the largest score + bias, in falling order; weights are their scores without
    the bias, normalised to sum 1."""
    scores = torch.sigmoid(logits)
    chosen = torch.topk(scores + bias, 4, dim=-1).indices
    w = scores.gather(-1, chosen)
    return w / w.sum(-1, keepdim=True), chosen.to(torch.int32)
