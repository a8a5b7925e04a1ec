"""A small modern GPT: rotary positions, QK-norm, squared ReLU, value embeddings, Muon for matrices and AdamW for the rest.

The evaluator calls build_model(config) and train(feed, budget); see README.md for what it gives and what it checks.
Ideas are nanochat's, autoresearch's and modded-nanogpt's; the code is this task's own.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Setting:
    depth: int
    width: int
    heads: int
    rows: int  # rows of a batch
    windows: str = "L"  # by layer, repeated: L sees everything before it, S only `short` tokens
    short: int = 1024
    matrix_rate: float = 0.04
    embedding_rate: float = 0.7
    head_rate: float = 0.005
    scalar_rate: float = 0.005  # of the streams' shares and the value gates
    again_rate: float = 0.05  # of the first embedding's share in each block
    momentum: float = 0.95  # of the matrices; begins at momentum_start and is reached after momentum_steps
    momentum_start: float = 0.85
    momentum_steps: int = 300
    evenness: float = 0.95  # memory of the rows' (or columns') sizes that updates are divided by; 0: they are not
    warmdown: float = 0.5  # last share of the training in which the rates fall to zero
    weight_decay: float = 0.2  # of the matrices, falling to zero with the training
    softcap: float = 15.0
    rope_base: float = 10_000.0


SETTINGS = {
    "300s": Setting(8, 512, 4, 128),
    "30s": Setting(8, 512, 4, 64),
    "tokens": Setting(8, 512, 4, 64),
    "cpu": Setting(2, 64, 2, 8, windows="SL", short=32, embedding_rate=0.1, head_rate=0.02, matrix_rate=0.03, scalar_rate=0.02),
}


# ---- the model -------------------------------------------------------------------------------------------------------


def norm(x):
    return F.rms_norm(x, (x.size(-1),))


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def attend(q, k, v, window):
    """Causal attention of [B, T, H, D]; `window` tokens back at most (0: all)."""
    length = q.size(1)
    if window and window < length and q.is_cuda:
        from torch.nn.attention.varlen import varlen_attn

        starts = torch.arange(0, q.size(0) * length + 1, length, device=q.device, dtype=torch.int32)
        flat = [x.flatten(0, 1) for x in (q, k, v)]
        return varlen_attn(*flat, starts, starts, length, length, window_size=(window, 0)).view_as(q)
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if window and window < length:
        at = torch.arange(length, device=q.device)
        near = (at[:, None] >= at[None, :]) & (at[:, None] - at[None, :] <= window)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=near).transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)


GATED = 32  # channels that say how much of a token's value embedding each head takes


class Block(nn.Module):
    def __init__(self, setting, window, vocabulary, valued):
        super().__init__()
        width, self.heads, self.window = setting.width, setting.heads, window
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        self.value_table = nn.Embedding(vocabulary, width) if valued else None
        self.value_gate = nn.Linear(GATED, self.heads, bias=False) if valued else None
        self.residual = nn.Parameter(torch.tensor(1.0))  # share of the stream
        self.again = nn.Parameter(torch.tensor(0.1))  # share of the first embedding

    def forward(self, x, first, tokens, cos, sin):
        x = self.residual * x + self.again * first
        y = norm(x)
        shape = (*y.shape[:2], self.heads, -1)
        q, k, v = self.query(y).view(shape), self.key(y).view(shape), self.value(y).view(shape)
        if self.value_table is not None:
            gate = 2 * torch.sigmoid(self.value_gate(y[..., :GATED]))[..., None]
            v = v + (gate * self.value_table(tokens).view(shape)).to(v.dtype)
        q, k = rotate(norm(q), cos, sin), rotate(norm(k), cos, sin)
        x = x + self.out(attend(q.to(v.dtype), k.to(v.dtype), v, self.window).flatten(2))
        return x + self.down(F.relu(self.up(norm(x))).square())


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        setting = SETTINGS[config["track"]]
        self.setting, vocabulary, length = setting, config["vocab_size"], config["sequence_length"]
        self.embedding = nn.Embedding(vocabulary, setting.width)
        windows = [setting.short if setting.windows[i % len(setting.windows)] == "S" else 0 for i in range(setting.depth)]
        self.blocks = nn.ModuleList(
            Block(setting, window, vocabulary, valued=i % 2 == (setting.depth - 1) % 2) for i, window in enumerate(windows)
        )
        self.head = nn.Linear(setting.width, vocabulary, bias=False)
        half = setting.width // setting.heads // 2
        angles = torch.outer(torch.arange(length).float(), setting.rope_base ** (-torch.arange(half).float() / half))
        self.register_buffer("cos", angles.cos()[None, :, None, :], persistent=False)
        self.register_buffer("sin", angles.sin()[None, :, None, :], persistent=False)
        self.reset(setting.width)

    @torch.no_grad()
    def reset(self, width):
        bound = math.sqrt(3 / width)
        for name, p in self.named_parameters():
            if name.endswith(("out.weight", "down.weight", "value_gate.weight")):
                p.zero_()
            elif name.endswith("head.weight"):
                p.normal_(std=0.001)
            elif name.endswith(("embedding.weight",)):
                p.normal_()
            elif "value_table" in name or p.ndim == 2:
                p.uniform_(-bound, bound)

    def forward(self, tokens):
        """Logits [B, T, V] of tokens [B, T]."""
        return self.logits(self.stream(tokens), tokens)

    def stream(self, tokens):
        """What the last block hands on: [B, T, width]."""
        with torch.autocast("cuda", torch.bfloat16, enabled=tokens.is_cuda):
            first = norm(self.embedding(tokens).to(torch.bfloat16 if tokens.is_cuda else torch.float32))
            x = first.clone()  # not the same tensor, or the first block would be compiled as a case of its own
            length = tokens.size(1)
            cos, sin = self.cos[:, :length], self.sin[:, :length]
            step = compiled("block", through, x) if self.training else through
            for block in self.blocks:
                x = step(block, x, first, tokens, cos, sin)
        return x

    def logits(self, x, tokens):
        """Logits [B, T, V] of what the last block handed on, x [B, T, width], and the tokens it came from."""
        with torch.autocast("cuda", torch.bfloat16, enabled=x.is_cuda):
            logits = self.head(norm(x))
        cap = self.setting.softcap
        return cap * torch.tanh(logits.float() / cap)


def through(block, x, first, tokens, cos, sin):
    """One block. Compiled by itself: blocks that are alike share the result, and a change recompiles what it changes."""
    return block(x, first, tokens, cos, sin)


def build_model(config):
    """A fresh model; its parameters come from torch's generator, which the evaluator seeds."""
    return GPT(config)


# ---- the optimiser ---------------------------------------------------------------------------------------------------


POLAR = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
"""Coefficients of five steps towards the polar factor (Polar Express, Amsel et al. 2025)."""


def orthogonal(g):
    """Nearest semi-orthogonal matrices of a stack [N, a, b], a <= b, by polynomial steps (Muon, Jordan et al. 2024)."""
    x = g.bfloat16() if g.is_cuda else g
    x = x / (1.02 * x.norm(dim=(-2, -1), keepdim=True) + 1e-6)
    for a, b, c in POLAR:
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.float()


def change(g, sizes, matrices, decay, evenness):
    """What a step changes a stack of matrices by, in units of the rate: an orthogonal update whose longer side (a
    square one's outputs) is evened out by its running sizes, its norm kept (NorMuon, Li et al. 2025), and weight decay
    where it points the same way as the update (cautious, Liang et al. 2024)."""
    update = orthogonal(g)
    if evenness:
        sizes.lerp_(update.square().mean(-1 if g.size(-1) == g.size(-2) else -2, keepdim=True), 1 - evenness)
        even = update * sizes.clamp_min(1e-10).rsqrt()
        update = even * (update.norm(dim=(-2, -1), keepdim=True) / even.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-10))
    return update + decay * matrices * (update * matrices >= 0)


class Muon:
    """Momentum, then an orthogonal step. Matrices of one shape go together, tall ones lying down among the wide ones."""

    def __init__(self, matrices, setting):
        self.setting, self.steps = setting, 0
        shapes = {}
        for p in matrices:
            shapes.setdefault(tuple(sorted(p.shape)), []).append(p)
        self.groups = []
        for (a, b), group in shapes.items():
            sizes = (len(group), a, 1) if a == b else (len(group), 1, b)
            self.groups.append((group, *(torch.zeros(shape, device=group[0].device) for shape in ((len(group), a, b), sizes))))

    @torch.no_grad()
    def step(self, share, left):
        """share: of the rate. left: share of the training still to come."""
        setting = self.setting
        warm = min(self.steps / setting.momentum_steps, 1.0)
        momentum = (1 - warm) * setting.momentum_start + warm * setting.momentum
        self.steps += 1
        decay = torch.tensor(setting.weight_decay * left)
        for group, memory, sizes in self.groups:
            tall = [p.size(0) > p.size(1) for p in group]
            g = torch.stack([p.grad.mT if up else p.grad for p, up in zip(group, tall)])
            memory.lerp_(g, 1 - momentum)
            g.lerp_(memory, momentum)
            matrices = torch.stack([p.mT if up else p for p, up in zip(group, tall)])
            updates = compiled("change", change, g)(g, sizes, matrices, decay, setting.evenness).unbind()
            rate = setting.matrix_rate * share
            for p, up, update in zip(group, tall, updates):
                p.add_(update.mT if up else update, alpha=-rate * math.sqrt(max(1.0, p.size(0) / p.size(1))))


def optimizers(model):
    setting = model.setting
    named = dict(model.named_parameters())
    matrices = [p for name, p in named.items() if name.startswith("blocks") and p.ndim == 2 and "value_" not in name]
    tables = [p for name, p in named.items() if "embedding" in name or "value_table" in name]
    again = [p for name, p in named.items() if name.endswith("again")]
    scalars = [p for name, p in named.items() if p.ndim == 0 and not name.endswith("again") or "value_gate" in name]
    groups = [
        {"params": tables, "lr": setting.embedding_rate},
        {"params": [model.head.weight], "lr": setting.head_rate},
        {"params": scalars, "lr": setting.scalar_rate},
        {"params": again, "lr": setting.again_rate, "betas": (0.96, 0.95)},
    ]
    adam = torch.optim.AdamW(groups, betas=(0.8, 0.95), eps=1e-10, weight_decay=0.0, fused=True)
    for group in adam.param_groups:
        group["rate"] = group["lr"]
    return Muon(matrices, setting), adam


# ---- training --------------------------------------------------------------------------------------------------------

_COMPILED = {}


def compiled(name, function, example):
    """torch.compile on a GPU, kept for the whole process: the rehearsal compiles, the timed run finds it done."""
    if not example.is_cuda:
        return function
    if name not in _COMPILED:
        _COMPILED[name] = torch.compile(function, dynamic=False)
    return _COMPILED[name]


def loss_of(model, x, inputs, targets):
    return F.cross_entropy(model.logits(x, inputs).flatten(0, 1), targets.flatten())


def keep_pace(device):
    """A function to call after each step: waits until the step before it is done on the device."""
    if device == "cpu":
        return lambda: None
    marks = []

    def wait():
        marks.append(torch.cuda.Event())
        marks[-1].record()
        if len(marks) > 1:
            marks.pop(0).synchronize()

    return wait


def train(feed, budget):
    """Train until the budget is used; the model."""
    if feed.config["device"] == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cuda.enable_cudnn_sdp(True)
        torch.backends.cuda.enable_flash_sdp(False)
        torch.backends.cuda.enable_mem_efficient_sdp(False)
    model = build_model(feed.config).to(feed.config["device"])
    setting = model.setting
    muon, adam = optimizers(model)
    losses = []
    wait = keep_pace(feed.config["device"])
    while not budget.done():
        batch = feed.next(setting.rows)
        if batch is None:
            break
        loss = compiled("loss", loss_of, batch[0])(model, model.stream(batch[0]), *batch)
        loss.backward()
        left = 1.0 - budget.progress()
        share = min(1.0, left / setting.warmdown)
        for group in adam.param_groups:
            group["lr"] = group["rate"] * share
        adam.step()
        muon.step(share, left)
        model.zero_grad(set_to_none=True)
        wait()
        losses.append(loss.detach())
        if len(losses) == 8:
            budget.log(torch.stack(losses).mean().item())
            losses.clear()
    return model
