"""Compress packed rows for a machine without pyarrow: `python benchmarks/gpu/training_pack.py SHARDS FOLDER`.

SHARDS: a folder of parquet shards with its tokenizer. FOLDER gets train-*.xz, validation-0.xz, holdout-0.xz,
token_bytes-0.xz and meta.json (about 41 MiB for 41M tokens); training_sitting.py unpacks it. A part that is there is not made again.
"""

from __future__ import annotations

import json
import lzma
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from evolve.evaluators.training import data, tracks

FILTER = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 0, "lp": 1, "pb": 1}]
"""Tokens are 16-bit numbers: positions modulo 2 matter, which takes a fifth off."""

PARTS = ("train", "validation", "holdout", "token_bytes")


def pack(shards: Path, folder: Path) -> None:
    track = tracks.TRACKS["nanochat/30s"]
    found = data.load(track, shards)
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {}
    for name in PARTS:
        array = np.asarray(getattr(found, name))
        shapes[name] = [str(array.dtype), list(array.shape)]
        for number, part in enumerate(np.array_split(array, 8 if array.nbytes > 1 << 24 else 1)):
            target = folder / f"{name}-{number}.xz"
            if not target.exists():
                packed = lzma.compress(part.tobytes(), format=lzma.FORMAT_XZ, filters=FILTER)
                target.with_suffix(".part").write_bytes(packed)
                target.with_suffix(".part").rename(target)
    meta = {"arrays": shapes, "digest": found.digest, "source": found.source}
    (folder / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")


def unpack(folder: Path) -> data.Dataset:
    """The data set, back. Raises ValueError where the arrays do not have the shapes they were packed with."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    arrays = {}
    for name in PARTS:
        kind, shape = meta["arrays"][name]
        parts = [lzma.decompress(path.read_bytes()) for path in sorted(folder.glob(f"{name}-*.xz"))]
        arrays[name] = np.frombuffer(b"".join(parts), dtype=kind).reshape(shape)
    return data.Dataset(**arrays, digest=meta["digest"], source=meta["source"])


if __name__ == "__main__":
    pack(Path(sys.argv[1]), Path(sys.argv[2]))
