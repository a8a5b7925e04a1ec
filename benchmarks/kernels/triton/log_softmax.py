import torch
import triton
import triton.language as tl


@triton.jit
def kernel(x, y, vocab, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * vocab
    at = tl.arange(0, BLOCK)
    top = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, vocab, BLOCK):
        h = tl.load(x + row + start + at, mask=start + at < vocab, other=float("-inf"))
        new = tl.maximum(top, h)
        total = total * tl.where(new == float("-inf"), 0.0, tl.exp(top - new)) + tl.where(
            new == float("-inf"), 0.0, tl.exp(h - new)
        )
        top = new
    peak = tl.max(top, 0)
    lse = peak + tl.log(tl.sum(total * tl.exp(top - peak), 0))
    for start in range(0, vocab, BLOCK):
        mask = start + at < vocab
        tl.store(y + row + start + at, tl.load(x + row + start + at, mask=mask, other=0.0) - lse, mask=mask)


def run(x):
    rows, vocab = x.shape
    y = torch.empty_like(x)
    kernel[(rows,)](x, y, vocab, BLOCK=min(8192, triton.next_power_of_2(vocab)), num_warps=16)
    return y
