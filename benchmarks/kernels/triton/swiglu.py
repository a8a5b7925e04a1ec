import torch
import triton
import triton.language as tl


@triton.jit
def kernel(gate, up, y, count, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < count
    g = tl.load(gate + at, mask=mask, other=0.0).to(tl.float32)
    u = tl.load(up + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(y + at, (g * tl.sigmoid(g) * u).to(tl.bfloat16), mask=mask)


def run(gate, up):
    y = torch.empty_like(gate)
    count = gate.numel()
    kernel[(triton.cdiv(count, 2048),)](gate, up, y, count, BLOCK=2048, num_warps=8)
    return y
