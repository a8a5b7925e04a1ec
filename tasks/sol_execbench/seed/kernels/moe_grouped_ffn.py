"""moe_grouped_ffn: Rows of expert e: (silu(x @ gate) * (x @ up)) @ down, with gate_up = [gate, up] along its last axis.

Inputs:
    x: bfloat16 [slots, hidden]
    gate_up: bfloat16 [experts, hidden, double]
    down: bfloat16 [experts, inner, hidden]
    offsets: int32 [ends]
Outputs:
    y: bfloat16 [slots, hidden]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(x, gate_up, down, offsets):
    """Rows of expert e: (silu(x @ gate) * (x @ up)) @ down, with gate_up = [gate, up] along its last axis."""
    acc = torch.promote_types(x.dtype, torch.float32)
    y = torch.empty_like(x)
    ends = offsets.tolist()
    for e in range(gate_up.shape[0]):
        if ends[e] < ends[e + 1]:
            gate, up = (x[ends[e] : ends[e + 1]] @ gate_up[e]).to(acc).chunk(2, dim=-1)
            y[ends[e] : ends[e + 1]] = (gate * torch.sigmoid(gate) * up).to(x.dtype) @ down[e]
    return y
