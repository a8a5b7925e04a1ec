"""embedding_backward: grad_table[v] = sum of grad[t] over tokens with ids[t] == v, in float32; repeats are common.

Inputs:
    grad: bfloat16 [tokens, hidden]
    ids: int64 [tokens]
    count: int64
Outputs:
    grad_table: float32 [vocab, hidden]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(grad, ids, count):
    """grad_table[v] = sum of grad[t] over tokens with ids[t] == v, in float32; repeats are common."""
    acc = torch.promote_types(grad.dtype, torch.float32)
    table = torch.zeros(count, grad.shape[1], dtype=acc, device=grad.device)
    return table.index_add_(0, ids, grad.to(acc))
