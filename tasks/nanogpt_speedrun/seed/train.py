"""A small modern GPT trained to a target loss: rotary positions, QK-norm, squared ReLU, Muon and AdamW, on 1 to 8 ranks.

The evaluator calls plan(config), build_model(config) and train(feed, budget); see README.md for what it checks.
Ideas are modded-nanogpt's and nanochat's; the code is this task's own.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import distributed, nn


@dataclass(frozen=True)
class Setting:
    depth: int
    width: int
    heads: int
    rows: int  # rows of a whole step, over all ranks
    micro: int  # rows that one rank takes at a time
    steps: int
    windows: str = "L"  # by layer, repeated: L sees everything before it, S only `short` tokens
    short: int = 1024
    matrix_rate: float = 0.02
    embedding_rate: float = 0.3
    head_rate: float = 0.008
    scalar_rate: float = 0.02
    warmdown: float = 0.5  # last share of the training in which the rates fall to zero
    weight_decay: float = 0.0
    softcap: float = 15.0
    rope_base: float = 10_000.0


SETTINGS = {
    "8gpu": Setting(12, 768, 6, 512, 64, 3350),
    "4gpu": Setting(12, 768, 6, 512, 64, 3350),
    "2gpu": Setting(12, 768, 6, 512, 64, 3350),
    "1gpu": Setting(12, 768, 6, 512, 64, 3350),
    "mini": Setting(6, 384, 3, 64, 64, 320),
    "cpu": Setting(2, 64, 2, 8, 4, 30, windows="SL", short=32, embedding_rate=0.1, head_rate=0.02, matrix_rate=0.03),
}


def plan(config):
    """Tokens this program trains on: said before the clock starts, and no more are served."""
    setting = SETTINGS[config["track"]]
    return setting.steps * setting.rows * config["sequence_length"]



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


class Block(nn.Module):
    def __init__(self, setting, window, vocabulary, valued):
        super().__init__()
        width, self.heads, self.window = setting.width, setting.heads, window
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        self.value_table = nn.Embedding(vocabulary, width) if valued else None
        self.value_gate = nn.Parameter(torch.zeros(self.heads)) if valued else None
        self.residual = nn.Parameter(torch.tensor([1.0, 0.0]))  # shares of the stream and of the first embedding

    def forward(self, x, first, tokens, cos, sin):
        x = self.residual[0] * x + self.residual[1] * first
        y = norm(x)
        shape = (*y.shape[:2], self.heads, -1)
        q, k, v = self.query(y).view(shape), self.key(y).view(shape), self.value(y).view(shape)
        if self.value_table is not None:
            gate = 2 * torch.sigmoid(self.value_gate).view(1, 1, -1, 1)
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
            Block(setting, window, vocabulary, valued=False) for i, window in enumerate(windows)
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
            if name.endswith(("out.weight", "down.weight", "head.weight")):
                p.zero_()
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


def orthogonal(g):
    """Nearest semi-orthogonal matrices of a stack [N, a, b], by five Newton-Schulz steps (Muon, Jordan et al. 2024)."""
    x = g.bfloat16() if g.is_cuda else g
    tall = x.size(-2) > x.size(-1)
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.mT if tall else x).to(g.dtype)


class Muon:
    """Momentum, then an orthogonal step; matrices of one shape are stacked and go together."""

    def __init__(self, matrices, rate, momentum=0.95, weight_decay=0.0):
        self.rate, self.momentum, self.decay = rate, momentum, weight_decay
        shapes = {}
        for p in matrices:
            shapes.setdefault(p.shape, []).append(p)
        self.groups = [(group, torch.zeros(len(group), *shape, device=group[0].device)) for shape, group in shapes.items()]

    @torch.no_grad()
    def step(self, share):
        for group, memory in self.groups:
            g = torch.stack([p.grad for p in group])
            memory.lerp_(g, 1 - self.momentum)
            update = compiled("orthogonal", orthogonal, g)(g.lerp(memory, self.momentum))
            scale = self.rate * share * math.sqrt(max(1.0, g.size(-2) / g.size(-1)))
            if self.decay:
                torch._foreach_mul_(group, 1 - scale * self.decay)
            torch._foreach_add_(group, list(update.unbind()), alpha=-scale)


def optimizers(model):
    setting = model.setting
    named = dict(model.named_parameters())
    matrices = [p for name, p in named.items() if name.startswith("blocks") and p.ndim == 2 and "value_table" not in name]
    tables = [p for name, p in named.items() if "embedding" in name or "value_table" in name]
    scalars = [p for p in named.values() if p.ndim < 2]
    groups = [
        {"params": tables, "lr": setting.embedding_rate},
        {"params": [model.head.weight], "lr": setting.head_rate},
        {"params": scalars, "lr": setting.scalar_rate},
    ]
    adam = torch.optim.AdamW(groups, betas=(0.8, 0.95), eps=1e-10, weight_decay=0.0, fused=True)
    for group in adam.param_groups:
        group["rate"] = group["lr"]
    return Muon(matrices, setting.matrix_rate, weight_decay=setting.weight_decay), adam


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


def join(config):
    """One process group for the process's lifetime; None where there is one rank."""
    if config["world_size"] == 1:
        return None
    if not distributed.is_initialized():
        if config["device"] == "cuda":
            torch.cuda.set_device(config["rank"])
        distributed.init_process_group("nccl" if config["device"] == "cuda" else "gloo")
    return distributed.group.WORLD


def average(parameters, group):
    """Mean gradients over the ranks: one message, since each has a price of its own."""
    flat = torch.cat([p.grad.flatten() for p in parameters])
    distributed.all_reduce(flat, group=group)
    at = 0
    for p in parameters:
        p.grad.copy_(flat[at : at + p.numel()].view_as(p) / group.size())
        at += p.numel()


def train(feed, budget):
    """Train on what plan() said; the model."""
    config = feed.config
    group = join(config)
    if config["device"] == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cuda.enable_cudnn_sdp(True)
        torch.backends.cuda.enable_flash_sdp(False)
        torch.backends.cuda.enable_mem_efficient_sdp(False)
    model = build_model(config).to(config["device"])
    setting, parameters = model.setting, list(model.parameters())
    if group is not None:
        for p in parameters:
            distributed.broadcast(p.data, 0, group=group)
    muon, adam = optimizers(model)
    parts = max(setting.rows // (setting.micro * config["world_size"]), 1)
    while True:
        share = min(1.0, (1.0 - budget.progress()) / setting.warmdown)
        for _ in range(parts):
            batch = feed.next(setting.micro)
            if batch is None:
                return model
            loss = compiled("loss", loss_of, batch[0])(model, model.stream(batch[0]), *batch) / parts
            loss.backward()
        if group is not None:
            average(parameters, group)
        for entry in adam.param_groups:
            entry["lr"] = entry["rate"] * share
        adam.step()
        muon.step(share)
        model.zero_grad(set_to_none=True)
