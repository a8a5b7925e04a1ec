import torch
import triton
import triton.language as tl


@triton.jit
def kernel(x, r, keep, y, count, scale, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < count
    h = tl.load(x + at, mask=mask, other=0.0).to(tl.float32) * scale
    k = tl.load(keep + at, mask=mask, other=0) != 0
    out = tl.load(r + at, mask=mask, other=0.0).to(tl.float32) + tl.where(k, h, 0.0)
    tl.store(y + at, out.to(tl.bfloat16), mask=mask)


def run(x, residual, keep, p):
    y = torch.empty_like(x)
    count = x.numel()
    kernel[(triton.cdiv(count, 2048),)](
        x, residual, keep.view(torch.int8), y, count, 1 / (1 - p), BLOCK=2048, num_warps=8
    )
    return y
