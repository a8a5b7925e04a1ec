"""A sitting of training runs on every card of a machine: noise floors, paired changes, the speedrun's `mini`, NCCL.

    python3 benchmarks/gpu/training_sitting.py --data DIR --out $OUT --budget 500 \\
        --unit 30s:0-4:seed,pairs,shift,warmdown --unit mini:100-109:seed [--have LINES.jsonl ...]

A unit `KIND:BLOCKS:VARIANTS` is a number of blocks; a block is one run of each variant with one seed, in an order that
turns with the block, so that drift favours nobody. A whole block runs on one card, so that pairs never cross cards;
cards take blocks as they become free, an odd card from the last unit on. Each run leaves a line in OUT/card<N>.jsonl at
once; lines of earlier sittings come in through --have and are continued, on the same card where it is there, and else
from the block's beginning. No run is started that would not fit the budget, and no failing one ends a sitting.

--nccl SECONDS first runs the same few steps of `mini` on one card and, through NCCL, on two. --dry: all of it on a CPU
with the help text and few tokens. Needs torch, numpy, a GPU's driver and root or user namespaces.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import training_common as common
from training_common import Bench, Line

from evolve.evaluators.kernels import gpus

TRIES = 2
"""Failed runs of a program in a block before it is left alone."""


@dataclass(frozen=True, slots=True)
class Unit:
    kind: str
    blocks: range
    variants: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Unit:
        """`30s:0-4:seed,pairs`. Raises ValueError saying what is wrong with it."""
        kind, blocks, names = text.split(":")
        if kind not in common.KINDS:
            raise ValueError(f"unit {text!r}: the kinds are {', '.join(common.KINDS)}")
        first, _, last = blocks.partition("-")
        variants = tuple(names.split(","))
        for name in variants:
            common.digest(kind, name)
        return cls(kind, range(int(first), int(last or first) + 1), variants)


class Plan:
    """What is still to be done, from the lines there are; blocks are claimed by exclusive files in `claims`."""

    def __init__(self, units: Sequence[Unit], lines: Sequence[Line], cards: Sequence[str], claims: Path) -> None:
        self.units, self.cards, self.claims = units, cards, claims
        self._done: dict[tuple[str, int, str], Counter[str]] = defaultdict(Counter)
        self._began: dict[tuple[str, int], set[str]] = defaultdict(set)
        for line in [line for line in lines if "kind" in line]:  # others' lines may lie in the same folder
            key = line["kind"], line["block"], line["card"]
            self._done[key][line["source"]] += TRIES if line["failure"] is None else 1
            self._began[line["kind"], line["block"]].add(line["card"])

    def left(self, unit: Unit, block: int, card: str) -> list[str]:
        """Variants of a block that `card` still has to run, in this block's order."""
        names = unit.variants
        turned = names[block % len(names) :] + names[: block % len(names)]
        done = self._done[unit.kind, block, card]
        return [name for name in turned if done[common.digest(unit.kind, name)] < TRIES]

    def blocks(self, card: str) -> Iterator[tuple[Unit, int]]:
        """Blocks for a card: those it began, then those nobody has, each claimed before it is given out."""
        turn = self.cards.index(card) % 2
        units = self.units[::-1] if turn else self.units
        mine = [(u, b) for u in units for b in u.blocks if card in self._began[u.kind, b]]
        free = [(u, b) for u in units for b in u.blocks if not self._began[u.kind, b] & set(self.cards)]
        for unit, block in (*mine, *free):
            if self.left(unit, block, card) and self._claim(f"{unit.kind}-{block}"):
                yield unit, block

    def _claim(self, name: str) -> bool:
        self.claims.mkdir(parents=True, exist_ok=True)
        try:
            os.close(os.open(self.claims / name, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


# ---- one card's process ----------------------------------------------------------------------------------------------


def work(options: argparse.Namespace, until: float) -> None:
    """All that one card does until `until` (monotonic)."""
    if options.cores:
        first, _, last = options.cores.partition("-")
        os.sched_setaffinity(0, range(int(first), int(last) + 1))
    cards = options.cards.split(",")
    number = cards.index(options.card)
    plan = Plan(
        [Unit.parse(u) for u in options.unit], _earlier(options), cards, Path(options.work) / f"claims-{options.call}"
    )
    bench = _bench(options, options.card, f"card{number}.jsonl")
    try:
        for unit, block in plan.blocks(options.card):
            for variant in plan.left(unit, block, options.card):
                if time.monotonic() + bench.expected(unit.kind, variant) > until:
                    print(
                        f"{options.card[-6:]} stops before {unit.kind} {variant} of block {block}: it would not fit",
                        flush=True,
                    )
                    return
                bench.run(unit.kind, variant, block)
        print(f"{options.card[-6:]} has nothing left to do", flush=True)
    finally:
        bench.close()


def _bench(options: argparse.Namespace, card: str, name: str, gpus: int = 1) -> Bench:
    packed = Path(options.data) if options.data else None
    return Bench(Path(options.work), packed, Path(options.out) / name, card, dry=options.dry, gpus=gpus)


def _earlier(options: argparse.Namespace) -> list[Line]:
    return common.read([*options.have, options.out])


def nccl(options: argparse.Namespace, cards: Sequence[str], until: float) -> None:
    """The same few steps on one card by accumulation and on two through NCCL (gloo on a CPU), with one seed."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(cards[:2])
    bench = _bench(options, "+".join(cards[:2]), "nccl.jsonl", gpus=2)
    try:
        os.environ["NCCL_DEBUG"] = "WARN"
        os.environ["NCCL_NVLS_ENABLE"] = "0"  # multicast needs a fabric manager, which a virtual machine may lack
        for kind, more in (("1gpu", {}), ("2gpu", {}), ("2gpu", {"NCCL_P2P_DISABLE": "1", "NCCL_CUMEM_ENABLE": "0"})):
            if time.monotonic() + bench.expected(kind, "two ranks") > until:
                print(f"no time left for {kind}", flush=True)
                return
            os.environ.update(more)
            line = bench.run(kind, "two ranks", 0)
            if kind == "2gpu" and line["failure"] is None:
                return
            if line["failure"]:
                print(line.get("stderr", "")[-1500:], flush=True)
    finally:
        bench.close()


# ---- the whole sitting -----------------------------------------------------------------------------------------------


def shares(cores: Sequence[int], cards: int) -> list[str]:
    """As many cores for each card, as "first-last"; none where there are fewer than two a card."""
    each = len(cores) // cards
    if each < 2 or list(cores) != list(range(cores[0], cores[0] + len(cores))):
        return [""] * cards
    return [f"{cores[0] + i * each}-{cores[0] + (i + 1) * each - 1}" for i in range(cards)]


def sit(options: argparse.Namespace, cards: list[str], until: float) -> None:
    """A process a card, and what they print, until all have ended."""
    if options.data and not options.dry:
        began = time.monotonic()
        common.unpacked(Path(options.data), Path(options.work))
        print(f"data there after {time.monotonic() - began:.1f} s", flush=True)
    if options.nccl and len(cards) > 1:
        arguments = [*_again(options), "--nccl-only", "--cards", ",".join(cards), "--budget", str(options.nccl)]
        subprocess.run(arguments, check=False, timeout=options.nccl + 120)
    started = []
    for card, cores in zip(cards, shares(sorted(os.sched_getaffinity(0)), len(cards)), strict=True):
        arguments = [*_again(options), "--card", card, "--cards", ",".join(cards), "--cores", cores,
                     "--budget", str(until - time.monotonic()), "--call", str(os.getpid())]  # fmt: skip
        environment = {**os.environ, **({} if options.dry else {"CUDA_VISIBLE_DEVICES": card})}
        started.append(subprocess.Popen(arguments, env=environment))
    for process in started:
        process.wait()


def _again(options: argparse.Namespace) -> list[str]:
    same = [("--data", options.data), ("--out", options.out), ("--work", options.work)]
    flags = [word for name, value in same if value for word in (name, str(value))]
    many = [
        word
        for name, values in (("--have", options.have), ("--unit", options.unit))
        for v in values
        for word in (name, v)
    ]
    return [sys.executable, str(Path(__file__).resolve()), *flags, *many, *(["--dry"] if options.dry else [])]


def table(lines: Sequence[Line]) -> str:
    """Runs, failures and means by kind, variant and kind of start."""
    groups: dict[tuple[str, str, str], list[Line]] = defaultdict(list)
    for line in lines:
        groups[line["kind"], line["variant"], line["cache"]].append(line)
    out = ["kind   variant       cache    runs failed    loss  training  ready scoring    all"]
    for (kind, variant, cache), rows in sorted(groups.items()):
        good = [row for row in rows if row["failure"] is None]
        shown = ""
        if good:
            loss = [row["metrics"].get("val_bpb", row["metrics"].get("val_loss", 0.0)) for row in good]
            columns = (
                loss,
                *([row["facts"][k] for row in good] for k in ("seconds", "ready", "scoring")),
                [r["wall"] for r in good],
            )
            a, b, c, d, e = (sum(column) / len(column) for column in columns)
            shown = f"{a:7.4f} {b:9.2f} {c:6.1f} {d:7.1f} {e:6.1f}"
        out.append(f"{kind:6} {variant:13} {cache:7} {len(rows):5} {len(rows) - len(good):6} {shown}")
    return "\n".join(out)


def parser() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--data", default="", help="what training_pack.py wrote; empty: the CPU tracks")
    words.add_argument("--out", default=os.environ.get("OUT", "."))
    words.add_argument("--work", default="/tmp/evolve-training")
    words.add_argument("--budget", type=float, default=440.0, help="seconds in all")
    words.add_argument("--unit", action="append", default=[], help="KIND:BLOCKS:VARIANTS, e.g. 30s:0-4:seed,pairs")
    words.add_argument("--have", action="append", default=[], help="lines of earlier sittings: files or folders")
    words.add_argument("--nccl", type=float, default=0.0, help="seconds for the two-card runs before the rest; 0: none")
    words.add_argument("--dry", action="store_true")
    for name in ("--card", "--cards", "--cores", "--call"):  # of one card's process
        words.add_argument(name, default="", help=argparse.SUPPRESS)
    words.add_argument("--nccl-only", action="store_true", help=argparse.SUPPRESS)
    return words


def main() -> None:
    began = time.monotonic()
    options = parser().parse_args()
    until = began + options.budget
    if options.nccl_only:
        nccl(options, options.cards.split(","), until)
    elif options.card:
        work(options, until)
    else:
        cards = gpus.cards() if options.data and not options.dry else []
        sit(options, cards or ["cpu-0", "cpu-1"][: 2 if options.dry else 1], until)
        print(table([line for line in common.read([options.out]) if "kind" in line]), flush=True)
        print(f"{time.monotonic() - began:.1f} s in all", flush=True)


if __name__ == "__main__":
    main()
