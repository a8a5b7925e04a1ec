import torch
import triton
import triton.language as tl


@triton.jit
def kernel(p, g, m, v, p_out, m_out, v_out, count, c1, c2, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < count
    grad = tl.load(g + at, mask=mask, other=0.0)
    m_new = 0.9 * tl.load(m + at, mask=mask, other=0.0) + 0.1 * grad
    v_new = 0.95 * tl.load(v + at, mask=mask, other=0.0) + 0.05 * grad * grad
    step = 0.01 * (m_new * c1) / (tl.sqrt_rn(v_new * c2) + 1e-8)
    tl.store(p_out + at, tl.load(p + at, mask=mask, other=0.0) * 0.999 - step, mask=mask)
    tl.store(m_out + at, m_new, mask=mask)
    tl.store(v_out + at, v_new, mask=mask)


def run(param, grad, exp_avg, exp_avg_sq, step):
    out = [torch.empty_like(param) for _ in range(3)]
    count = param.numel()
    c1, c2 = 1 / (1 - 0.9**step), 1 / (1 - 0.95**step)
    kernel[(triton.cdiv(count, 2048),)](param, grad, exp_avg, exp_avg_sq, *out, count, c1, c2, BLOCK=2048, num_warps=8)
    return tuple(out)
