"""What the kernel scripts share: arguments, a budget, raw JSON lines written as they come, a referee.

Every script runs with a bare python3 that has torch and triton, writes $OUT/<name>.jsonl (or --out), resumes from lines
already there, never lets one failing item end it, and prints a short table last. `--device cpu --quick` rehearses it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from evolve.evaluators.kernels import clocks, gpus  # noqa: E402
from evolve.evaluators.kernels.checks import Rules, support  # noqa: E402
from evolve.evaluators.kernels.evidence import KernelEvidence  # noqa: E402
from evolve.evaluators.kernels.jailed import Ward  # noqa: E402
from evolve.evaluators.kernels.launch import Nursery  # noqa: E402
from evolve.evaluators.kernels.referee import Referee  # noqa: E402


def arguments(name: str, **extra: Any) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=name)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="fewer repeats, smaller sizes: a rehearsal")
    parser.add_argument("--budget", type=float, default=420.0, help="seconds after which nothing new is started")
    parser.add_argument("--out", default=os.environ.get("OUT", "."), help="folder for raw JSON lines")
    parser.add_argument("--resume", default="", help="a file of earlier raw lines (its items are skipped and copied)")
    parser.add_argument("--workers", default="jail", choices=("jail", "fork"), help="where candidates run")
    parser.add_argument("--part", default="0/1", help="which part of the items, such as 1/2: a card each")
    for key, value in extra.items():
        parser.add_argument(f"--{key.replace('_', '-')}", default=value, type=type(value))
    return parser.parse_args()


PROTOCOL = 5
"""Of the timed call. Earlier lines are not taken up: 1 had no clock but the worker's last word; 2 a gate that let SMs go one by one and
one place for all of a process' outputs; 3 still the one place; 4 side streams outside the window."""


class Raw:
    """Raw JSON lines: {"item": key, ...}; an item already there is done."""

    def __init__(self, args: argparse.Namespace, name: str) -> None:
        self.path = Path(args.out) / f"{name}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.began, self.budget = time.monotonic(), args.budget
        self.rows: list[dict[str, Any]] = []
        for source in (Path(args.resume) if args.resume else None, self.path):
            if source is not None and source.is_file():
                found = [json.loads(line) for line in source.read_text().splitlines() if line.strip()]
                self.rows += [row for row in found if row.get("protocol") == PROTOCOL]
        self.rows = list({row["item"]: row for row in self.rows}.values())
        self.path.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        self.handle = self.path.open("a")

    def done(self, item: str) -> bool:
        return any(row["item"] == item and "error" not in row for row in self.rows)

    def put(self, item: str, **facts: Any) -> None:
        row = {"item": item, "when": time.time(), "protocol": PROTOCOL, **facts}
        self.rows = [r for r in self.rows if r["item"] != item] + [row]
        self.handle.write(json.dumps(row, default=str) + "\n")
        self.handle.flush()

    def time_left(self) -> bool:
        return time.monotonic() - self.began < self.budget

    def attempt(self, item: str, work: Any) -> Any:
        """Run `work()` unless the item is done or the budget spent; an exception becomes a row with its traceback."""
        if self.done(item) or not self.time_left():
            return None
        began = time.monotonic()
        try:
            facts = work()
        except Exception as error:  # noqa: BLE001 - one failing item never ends a sitting on lent hardware
            text = "".join(traceback.format_exception(error))[-3000:]
            self.put(item, error=text, seconds=round(time.monotonic() - began, 2))
            print(f"  {item}: {type(error).__name__}: {str(error)[:300]}", flush=True)
            return None
        self.put(item, **facts, seconds=round(time.monotonic() - began, 2))
        return facts


def mine(args: argparse.Namespace, number: int) -> bool:
    """Whether the item of this number is in this process' part."""
    part, parts = (int(x) for x in args.part.split("/"))
    return number % parts == part


def machine_facts() -> dict[str, Any]:
    """Card, driver, clocks and throttle bits as nvidia-smi reads them (nothing is set), and library versions."""
    import torch

    facts: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda, "python": sys.version.split()[0]}
    try:
        import triton

        facts["triton"] = triton.__version__
    except ImportError:
        facts["triton"] = None
    query = "name,driver_version,clocks.sm,clocks.mem,clocks_throttle_reasons.active,temperature.gpu,power.draw"
    try:
        out = subprocess.run(
            ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"], capture_output=True, text=True, timeout=20
        )
        facts["nvidia_smi"] = dict(
            zip(query.split(","), [x.strip() for x in out.stdout.strip().split(",")], strict=False)
        )
    except (OSError, subprocess.SubprocessError) as error:
        facts["nvidia_smi"] = str(error)
    return facts


def open_referee(
    args: argparse.Namespace, clock: str = "real", more: Mapping[str, str] | None = None
) -> tuple[Ward | Nursery, Referee]:
    """Workers live in the jail, as in a run; `--workers fork` takes plain forks, where a card does not work in the jail."""
    env = {"TRITON_INTERPRET": "1"} if args.device == "cpu" else {}
    if SHARED and not more and args.workers == "jail":
        return SHARED[0]
    nursery = Ward(device=args.device) if args.workers == "jail" else Nursery(env=env)
    card = (gpus.cards() or [""])[0] if args.device == "cuda" else ""
    return nursery, Referee(nursery, device=args.device, clock=clock, env={**env, **(more or {})}, card=card)


SHARED: list[tuple[Any, Referee]] = []
"""kernels_sitting.py's one jail and referee, which every script of it uses: starting them takes 15 s."""


def clock_rows(evidence: KernelEvidence, index: int) -> dict[str, Any]:
    """Per clock of the referee the overheads of both sides in microseconds, call by call, and what D7 says of them."""
    ours, theirs = evidence.of("A", index), evidence.of("B", index)
    found: dict[str, Any] = {}
    for clock in clocks.NAMES:
        a, b = clocks.overheads(ours, clock), clocks.overheads(theirs, clock)
        if a and b:
            found[clock] = {"a": [round(x, 2) for x in a], "b": [round(x, 2) for x in b]}
    for one in support(evidence, index, Rules()) if ours and theirs else []:
        found[one.clock] |= {"excess": one.excess, "allowance": one.allowance, "disputed": one.disputed}
    return found


def table(head: list[str], rows: list[list[Any]]) -> str:
    """A plain table, as short as it can be."""
    cells = [head, *[[f"{x:.4g}" if isinstance(x, float) else str(x) for x in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return "\n".join("  ".join(x.ljust(w) for x, w in zip(row, widths, strict=True)).rstrip() for row in cells)
