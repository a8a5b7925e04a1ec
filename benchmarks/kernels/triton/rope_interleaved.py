import torch
import triton
import triton.language as tl


@triton.jit
def kernel(x, cos, sin, y, seq, heads, half, BLOCK: tl.constexpr, HEADS: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, 2 * BLOCK)[None, :]
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)[:, None]
    mask = (head < heads) & (at < 2 * half)
    place = (token * heads + head) * half * 2 + at
    a, b = tl.split(tl.reshape(tl.load(x + place, mask=mask, other=0.0).to(tl.float32), (HEADS, BLOCK, 2)))
    i = tl.arange(0, BLOCK)
    angle = (token % seq) * half + i
    c = tl.load(cos + angle, mask=i < half, other=0.0)[None, :]
    s = tl.load(sin + angle, mask=i < half, other=0.0)[None, :]
    out = tl.reshape(tl.join(a * c - b * s, b * c + a * s), (HEADS, 2 * BLOCK))
    tl.store(y + place, out.to(tl.bfloat16), mask=mask)


def run(x, cos, sin):
    batch, seq, heads, dim = x.shape
    y = torch.empty_like(x)
    half = dim // 2
    kernel[(batch * seq, triton.cdiv(heads, 16))](
        x, cos, sin, y, seq, heads, half, BLOCK=triton.next_power_of_2(half), HEADS=16, num_warps=4
    )
    return y
