import torch
import triton
import triton.language as tl


@triton.jit
def kernel(rows, row, weights, y, hidden, BLOCK: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = at < hidden
    first, second = tl.load(row + token * 2).to(tl.int64), tl.load(row + token * 2 + 1).to(tl.int64)
    a = tl.load(rows + first * hidden + at, mask=mask, other=0.0).to(tl.float32) * tl.load(weights + token * 2)
    b = tl.load(rows + second * hidden + at, mask=mask, other=0.0).to(tl.float32) * tl.load(weights + token * 2 + 1)
    tl.store(y + token * hidden + at, (a + b).to(tl.bfloat16), mask=mask)


def run(rows, row, weights):
    tokens, hidden = row.shape[0], rows.shape[1]
    y = torch.empty(tokens, hidden, dtype=rows.dtype, device=rows.device)
    kernel[(tokens, triton.cdiv(hidden, 2048))](rows, row, weights, y, hidden, BLOCK=2048, num_warps=8)
    return y
