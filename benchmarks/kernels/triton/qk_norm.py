import torch
import triton
import triton.language as tl


@triton.jit
def kernel(x, w, y, rows, dim, BLOCK: tl.constexpr, ROWS: tl.constexpr):
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    at = tl.arange(0, BLOCK)[None, :]
    mask = (row < rows) & (at < dim)
    h = tl.load(x + row * dim + at, mask=mask, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(h * h, 1) / dim + 1e-6)[:, None]
    weight = tl.load(w + at, mask=at < dim, other=0.0).to(tl.float32)
    tl.store(y + row * dim + at, (h * scale * weight).to(tl.bfloat16), mask=mask)


def run(q, k, q_weight, k_weight):
    out = []
    for x, w in ((q, q_weight), (k, k_weight)):
        dim = x.shape[-1]
        rows = x.numel() // dim
        y = torch.empty_like(x)
        kernel[(triton.cdiv(rows, 16),)](x, w, y, rows, dim, BLOCK=triton.next_power_of_2(dim), ROWS=16, num_warps=4)
        out.append(y)
    return out[0], out[1]
