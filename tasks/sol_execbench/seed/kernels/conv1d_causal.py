"""conv1d_causal: Depthwise causal convolution of width 4 with bias, then silu.

Inputs:
    x: bfloat16 [batch, channels, length]
    weight: bfloat16 [channels, four]
    bias: bfloat16 [channels]
Outputs:
    y: bfloat16 [batch, channels, length]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(x, weight, bias):
    """Depthwise causal convolution of width 4 with bias, then silu."""
    acc = torch.promote_types(x.dtype, torch.float32)
    padded = torch.nn.functional.pad(x.to(acc), (3, 0))
    y = sum(padded[..., i : i + x.shape[-1]] * weight.to(acc)[:, i, None] for i in range(4)) + bias.to(acc)[:, None]
    return (y * torch.sigmoid(y)).to(x.dtype)
