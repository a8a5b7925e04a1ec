"""`python -m evolve.evaluators.training.prepare nanochat|speedrun`: bring a task's data here, verify it, pack it.

Without a network: `--from FOLDER` takes shards that are there. The result lies in `--into` (default: where the
evaluator looks), so that a search never waits for data.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evolve.evaluators.training import bins, corpus, data, tracks
from evolve.evaluators.training.fetch import Lock, Wanted, manifest
from evolve.tasks.errors import EvolveError

SOURCES = {
    "nanochat": "https://huggingface.co/datasets/karpathy/climbmix-400b-shuffle/resolve/main",
    "speedrun": "https://huggingface.co/datasets/kjj0/fineweb10B-gpt2/resolve/main",
}
FOLDERS = {"nanochat": "~/.cache/autoresearch/data", "speedrun": "~/.cache/modded-nanogpt"}


def names(task: str, shards: int) -> list[str]:
    """Files of a task's corpus: `shards` of training data and the validation shard."""
    if task == "nanochat":
        return [f"shard_{n:05d}.parquet" for n in (*range(shards), corpus.VALIDATION_SHARD)]
    return ["fineweb_val_000000.bin", *(f"fineweb_train_{n:06d}.bin" for n in range(1, shards + 1))]


def prepare(
    task: str, track: str, *, source: Path | None = None, into: Path | None = None, base: str = "", shards: int | None = None,
    hashes: Path | None = None, pause: float = 1.0,
) -> Path:  # fmt: skip
    """Download (or take `source`), verify, pack. The folder to name as evaluate.settings.data. Raises EvolveError."""
    chosen = tracks.TRACKS[f"{task}/{track}"]
    if source is None:
        folder = into or Path(FOLDERS[task]).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        lock = Lock(folder)
        known = manifest(hashes) if hashes else {}
        check = corpus.check if task == "nanochat" else bins.read
        for name in names(task, shards if shards is not None else 10 if task == "nanochat" else 9):
            wanted = Wanted(name, f"{base or SOURCES[task]}/{name}", known.get(name, ""))
            lock.fetch(wanted, folder, check, pause=pause)
            print(f"{name}: here and verified", file=sys.stderr)
        source = folder
    dataset = data.load(chosen, source)
    print(f"{len(dataset.train)} training rows, {len(dataset.validation)} validation rows, digest {dataset.digest[:16]}",
          file=sys.stderr)  # fmt: skip
    return source


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="prepare", description=__doc__)
    parser.add_argument("task", choices=sorted(SOURCES))
    parser.add_argument("--track", default="", help="track to pack for (default: the task's first)")
    parser.add_argument("--from", dest="source", type=Path, help="a local folder of shards instead of a download")
    parser.add_argument("--into", type=Path, help="where downloads go")
    parser.add_argument("--base", default="", help="another server that holds the same files")
    parser.add_argument("--shards", type=int, help="training shards to fetch")
    parser.add_argument("--hashes", type=Path, help="JSON of file name -> sha256 to verify against")
    parser.add_argument(
        "--export", type=Path, help="write the packed rows to this folder, for a machine without pyarrow"
    )
    options = parser.parse_args(arguments)
    track = options.track or {"nanochat": "300s", "speedrun": "8gpu"}[options.task]
    try:
        folder = prepare(options.task, track, source=options.source, into=options.into, base=options.base,
                         shards=options.shards, hashes=options.hashes)  # fmt: skip
        if options.export:
            chosen = tracks.TRACKS[f"{options.task}/{track}"]
            data.write(data.load(chosen, folder), options.export, chosen)
            folder = options.export
    except EvolveError as error:
        print(f"prepare: {error}", file=sys.stderr)
        return error.exit_code
    print(folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
