"""Puts a sitting's raw JSON lines into benchmarks/kernels/raw: a new line replaces the older one of the same item.

    python benchmarks/kernels/merge.py FOLDER... [--fresh kernels_timing,...] [--protocol 5]

--fresh: these files' older lines go. --protocol: the lines were made by this protocol whatever number they bear (a checkout
between a change and the raising of its number).

Use --fresh where the protocol changed so that older lines would not be comparable. A line with an error never replaces one
that has a result. Afterwards: python benchmarks/kernels/results.py
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

RAW = Path(__file__).resolve().parent / "raw"


def read(path: Path) -> dict[str, dict[str, Any]]:
    """Lines by item; of several with one item the last that has a result."""
    found: dict[str, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        row = json.loads(line)
        if "error" not in row or row["item"] not in found:
            found[row["item"]] = row
    return found


def merge(old: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """`old` with `new`'s lines over it; errors only where nothing was known."""
    return {**old, **{k: row for k, row in new.items() if "error" not in row or k not in old or "error" in old[k]}}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--fresh", default="")
    parser.add_argument("--protocol", type=int, default=0)
    args = parser.parse_args(arguments)
    fresh = set(args.fresh.split(","))
    for folder in args.folders:
        for path in sorted(Path(folder).glob("kernels_*.jsonl")):
            target = RAW / path.name
            old = {} if path.stem in fresh else read(target)
            new = read(path)
            if args.protocol:
                new = {item: {**row, "protocol": args.protocol} for item, row in new.items()}
            made = merge(old, new)
            target.write_text("".join(json.dumps(row) + "\n" for row in made.values()), encoding="utf-8")
            print(f"{path.stem}: {len(old)} + {len(new)} lines -> {len(made)}")
        fresh = set()  # a second folder of one sitting adds to the first


if __name__ == "__main__":
    main(sys.argv[1:])
