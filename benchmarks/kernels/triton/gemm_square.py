import torch
import triton
import triton.language as tl


@triton.jit
def kernel(a, b, c, m, n, k, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, GROUP: tl.constexpr):
    pid = tl.program_id(0)
    rows, cols = tl.cdiv(m, M), tl.cdiv(n, N)
    width = GROUP * cols
    first = pid // width * GROUP
    size = tl.minimum(rows - first, GROUP)
    r = first + pid % width % size
    s = pid % width // size
    i = r * M + tl.arange(0, M)
    j = s * N + tl.arange(0, N)
    at = tl.arange(0, K)
    acc = tl.zeros((M, N), tl.float32)
    for start in range(0, k, K):
        x = tl.load(
            a + i.to(tl.int64)[:, None] * k + start + at[None, :],
            mask=(i < m)[:, None] & (start + at < k)[None, :],
            other=0.0,
        )
        y = tl.load(
            b + (start + at).to(tl.int64)[:, None] * n + j[None, :],
            mask=(start + at < k)[:, None] & (j < n)[None, :],
            other=0.0,
        )
        acc = tl.dot(x, y, acc)
    tl.store(
        c + i.to(tl.int64)[:, None] * n + j[None, :], acc.to(tl.bfloat16), mask=(i < m)[:, None] & (j < n)[None, :]
    )


def run(a, b):
    m, k = a.shape
    n = b.shape[1]
    c = torch.empty(m, n, dtype=a.dtype, device=a.device)
    grid = (triton.cdiv(m, 128) * triton.cdiv(n, 256),)
    kernel[grid](a, b, c, m, n, k, M=128, N=256, K=64, GROUP=8, num_warps=8, num_stages=3)
    return c
