"""kl_distill: KL(softmax(teacher / T) || softmax(student / T)) * T^2, one float32 value a row.

Inputs:
    student: bfloat16 [rows, vocab]
    teacher: bfloat16 [rows, vocab]
    temperature: float32
Outputs:
    loss: float32 [rows]

`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.
"""

import torch


@torch.no_grad()
def run(student, teacher, temperature):
    """KL(softmax(teacher / T) || softmax(student / T)) * T^2, one float32 value a row."""
    acc = torch.promote_types(student.dtype, torch.float32)
    s = torch.log_softmax(student.to(acc) / temperature, dim=-1)
    t = torch.log_softmax(teacher.to(acc) / temperature, dim=-1)
    return (t.exp() * (t - s)).sum(-1) * temperature**2
