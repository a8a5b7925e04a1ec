import torch
import triton
import triton.language as tl


@triton.jit
def kernel(x, target, loss, vocab, BLOCK: tl.constexpr):
    program = tl.program_id(0)
    row = program.to(tl.int64) * vocab
    at = tl.arange(0, BLOCK)
    top = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, vocab, BLOCK):
        h = tl.load(x + row + start + at, mask=start + at < vocab, other=float("-inf")).to(tl.float32)
        new = tl.maximum(top, h)
        total = total * tl.where(new == float("-inf"), 0.0, tl.exp(top - new)) + tl.where(
            new == float("-inf"), 0.0, tl.exp(h - new)
        )
        top = new
    peak = tl.max(top, 0)
    lse = peak + tl.log(tl.sum(total * tl.exp(top - peak), 0))
    tl.store(loss + program, lse - tl.load(x + row + tl.load(target + program)).to(tl.float32))


def run(logits, target):
    rows, vocab = logits.shape
    loss = torch.empty(rows, dtype=torch.float32, device=logits.device)
    kernel[(rows,)](logits, target, loss, vocab, BLOCK=min(8192, triton.next_power_of_2(vocab)), num_warps=16)
    return loss
