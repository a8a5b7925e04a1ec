"""Numbers of the nanochat seed tried at equal tokens, in one process on one GPU: `python3 benchmarks/gpu/training_sweep.py --data DIR`.

    --try 'plain:' --try 'slow:matrix_rate=0.02,momentum_start=0.95' --steps 110 --seeds 0 --budget 95 --out $OUT

Each `--try NAME:FIELD=VALUE,...` is trained on the same rows as in training_parity.py, which scores it, once a seed; a line
a run in OUT/sweep.jsonl. It chooses starting values for the seed and proves nothing: training_parity.py does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")

sys.path.insert(0, str(Path(__file__).resolve().parent))

import training_common as common
import training_parity as parity


def parsed(text: str) -> tuple[str, dict[str, Any]]:
    """`NAME:FIELD=VALUE,...` -> name and overrides of the seed's Setting."""
    name, _, fields = text.partition(":")
    return name, {
        key: json.loads(value) for key, _, value in (part.partition("=") for part in fields.split(",") if part)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", default=os.environ.get("OUT", "."))
    parser.add_argument("--work", type=Path, default=Path("/tmp/evolve-training"))
    parser.add_argument("--steps", type=int, default=110)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--budget", type=float, default=95.0)
    parser.add_argument("--try", dest="tries", action="append", required=True)
    parser.add_argument("--dry", action="store_true")
    options = parser.parse_args()
    began = time.monotonic()
    device, data, rows, steps = parity.prepared(options)
    ours = parity.Ours(data, rows, steps, device)
    raw = Path(options.out) / "sweep.jsonl"
    raw.parent.mkdir(parents=True, exist_ok=True)
    track, facts = (
        ours.config["track"],
        {"data": data.digest, "versions": common.versions(), "source": common.digest("30s", "seed")},
    )
    plain, took = ours.program.SETTINGS[track], 60.0
    for block in map(int, options.seeds.split(",")):
        for name, fields in map(parsed, options.tries):
            if time.monotonic() - began + took > options.budget:
                print(f"stops before {name}, seed {block}: it would not fit", flush=True)
                return
            ours.program.SETTINGS[track] = replace(plain, **fields)
            line = parity.once(name, ours, block, {**facts, "fields": fields})
            took = min(took, 1.1 * line["wall"])
            with open(raw, "a", encoding="utf-8") as file:
                file.write(json.dumps({**line, "what": "sweep"}) + "\n")
            shown = line["failure"] or f"bpb {line['bpb']:.5f}  {line['rate'] / 1e6:.4f}M tokens/s"
            print(f"{name:12} seed {block} {line['wall']:6.1f} s  {shown}  {fields}", flush=True)


if __name__ == "__main__":
    main()
