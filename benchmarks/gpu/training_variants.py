"""Changes that are judged against the seed: patches (old text, new text), each old text once in the seed.

The ideas are public (see docs/training.md, "Starting points"); the code is ours.
"""

from __future__ import annotations

from pathlib import Path

TASKS = Path(__file__).resolve().parents[2] / "tasks"

Patch = tuple[tuple[str, str], ...]

_BIGRAM: Patch = (
    (
        "        self.value_gate = nn.Linear(GATED, self.heads, bias=False) if valued else None\n",
        "        self.value_gate = nn.Linear(GATED, self.heads, bias=False) if valued else None\n"
        "        self.pair_value_table = nn.Embedding(PAIRS, width) if valued else None\n"
        "        self.prime = 36313 + 2 * window + 1000 * self.heads\n",
    ),
    (
        "            v = v + (gate * self.value_table(tokens).view(shape)).to(v.dtype)\n",
        "            before = F.pad(tokens, (1, 0))[:, :-1]\n"
        "            pairs = (tokens * self.prime + before * 27191) % PAIRS\n"
        "            both = self.value_table(tokens) + self.pair_value_table(pairs)\n"
        "            v = v + (gate * both.view(shape)).to(v.dtype)\n",
    ),
    ("def norm(x):\n", "PAIRS = 65_536  # rows of a hashed table of token pairs\n\n\ndef norm(x):\n"),
)

_SHIFT: Patch = (
    (
        "        self.residual = nn.Parameter(",
        "        self.shift = nn.Parameter(torch.zeros(2, 1, 1, width))\n        self.residual = nn.Parameter(",
    ),
    (
        "        q, k, v = self.query(y).view(shape), self.key(y).view(shape), self.value(y).view(shape)\n",
        "        before = F.pad(y, (0, 0, 1, 0))[:, :-1]\n"
        "        q = self.query(y + self.shift[0] * before).view(shape)\n"
        "        k = self.key(y + self.shift[1] * before).view(shape)\n"
        "        v = self.value(y).view(shape)\n",
    ),
    ("if p.ndim < 2]\n", 'if p.ndim < 2] + [p for name, p in named.items() if "shift" in name]\n'),
)

_NAMED = (
    'again = [p for name, p in named.items() if name.endswith("again")]\n',
    'again = [p for name, p in named.items() if name.endswith(("again", "shift"))]\n',
)
"""The newer seed has a group of its own for shares."""

NANOCHAT: dict[str, Patch] = {
    "seed": (),
    "pairs": _BIGRAM,
    "shift": (*_SHIFT[:-1], _NAMED),
    "warmdown": (("    warmdown: float = 0.5", "    warmdown: float = 0.75"),),
    "windows": (
        ('    windows: str = "L"', '    windows: str = "SSSL"'),
        ("    short: int = 1024", "    short: int = 256"),
    ),
}
"""hashed token-pair value embeddings, token shift on Q and K, a longer warm-down, windows of an eighth."""

_MINI = '"mini": Setting(6, 384, 3, 64, 64, 320)'


def _steps(steps: int, micro: int = 64) -> tuple[str, str]:
    return _MINI, f'"mini": Setting(6, 384, 3, 64, {micro}, {steps})'


_VALUES = (
    "Block(setting, window, vocabulary, valued=False)",
    "Block(setting, window, vocabulary, valued=i % 2 == (setting.depth - 1) % 2)",
)
_LONGER = ("    warmdown: float = 0.5", "    warmdown: float = 0.75")

SPEEDRUN: dict[str, Patch] = {
    "seed": (),
    "fewer steps": (_steps(288),),
    "values": (_VALUES,),
    "warmdown": (_LONGER,),
    "shift": _SHIFT,
    "values 272": (_VALUES, _steps(272)),
    "shift 280": (*_SHIFT, _steps(280)),
    "two ranks": (_steps(60, micro=32),),
}
"""What is tried on `mini`. "two ranks": few steps in halves, the same arithmetic on one card and on two.

A first run of each (block 900) chose the numbers of steps: at 320 steps value embeddings end 0.15 nats lower and token
shift 0.13; a tenth fewer steps cost 0.05.
"""


def source(task: str, name: str) -> str:
    """The program of a variant. Raises ValueError where a patch does not fit the seed any more."""
    folder, variants = {
        "nanochat": ("nanochat_autoresearch", NANOCHAT),
        "speedrun": ("nanogpt_speedrun", SPEEDRUN),
    }[task]
    text = (TASKS / folder / "seed" / "train.py").read_text(encoding="utf-8")
    for old, new in variants[name]:
        if text.count(old) != 1:
            raise ValueError(f"variant {name!r}: {old!r} is {text.count(old)} times in the seed")
        text = text.replace(old, new)
    return text
