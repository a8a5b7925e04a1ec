import torch
import triton
import triton.language as tl


@triton.jit
def kernel(x, w, b, y, hidden, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    mask = at < hidden
    h = tl.load(x + row * hidden + at, mask=mask, other=0.0).to(tl.float32)
    mean = tl.sum(h, 0) / hidden
    d = tl.where(mask, h - mean, 0.0)
    scale = tl.rsqrt(tl.sum(d * d, 0) / hidden + 1e-5)
    out = d * scale * tl.load(w + at, mask=mask, other=0.0).to(tl.float32) + tl.load(b + at, mask=mask, other=0.0).to(
        tl.float32
    )
    tl.store(y + row * hidden + at, out.to(tl.float16), mask=mask)


def run(x, weight, bias):
    rows, hidden = x.shape
    y = torch.empty_like(x)
    block = triton.next_power_of_2(hidden)
    kernel[(rows,)](x, weight, bias, y, hidden, BLOCK=block, num_warps=8 if block >= 4096 else 4)
    return y
