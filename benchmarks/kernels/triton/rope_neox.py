import torch
import triton
import triton.language as tl


@triton.jit
def kernel(x, cos, sin, y, seq, heads, half, BLOCK: tl.constexpr, HEADS: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)[None, :]
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)[:, None]
    mask = (head < heads) & (at < half)
    place = (token * heads + head) * half * 2 + at
    a = tl.load(x + place, mask=mask, other=0.0).to(tl.float32)
    b = tl.load(x + place + half, mask=mask, other=0.0).to(tl.float32)
    angle = (token % seq) * half + at
    c = tl.load(cos + angle, mask=at < half, other=0.0)
    s = tl.load(sin + angle, mask=at < half, other=0.0)
    tl.store(y + place, (a * c - b * s).to(tl.bfloat16), mask=mask)
    tl.store(y + place + half, (b * c + a * s).to(tl.bfloat16), mask=mask)


def run(x, cos, sin):
    batch, seq, heads, dim = x.shape
    y = torch.empty_like(x)
    half = dim // 2
    kernel[(batch * seq, triton.cdiv(heads, 16))](
        x, cos, sin, y, seq, heads, half, BLOCK=triton.next_power_of_2(half), HEADS=16, num_warps=4
    )
    return y
