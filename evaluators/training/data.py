"""A track's data, packed once: training rows, validation rows, holdout rows, bytes per token. Cached as plain arrays."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evolve.evaluators.training import bins, bpe, corpus
from evolve.evaluators.training.packing import Packer, Rows, chunk, pack
from evolve.evaluators.training.tracks import Track
from evolve.tasks.errors import TaskError

VERSION = "data/2"
PACKED = 2048
"""Tokens of a row that a corpus with a target loss is packed at. Shorter rows are cut from these, so that a track of short
rows has the same text in the same order as `30s`, and one packed corpus serves both."""
TOKENIZER_TEXT = {512: 2_000_000, 8192: 64_000_000}
"""Characters a tokenizer is trained on where the folder brings none: our trainer is plain Python."""


@dataclass(frozen=True)
class Dataset:
    """Rows are uint16 [n, T + 1]: inputs row[:-1], targets row[1:].

    token_bytes: int32 [V], bytes of raw text a target stands for, 0 for special tokens. digest: of all of it.
    """

    train: Rows
    validation: Rows
    holdout: Rows
    token_bytes: npt.NDArray[np.int32]
    digest: str
    source: str

    def bytes_of(self, rows: Rows) -> int:
        """Bytes of raw text the rows' targets stand for."""
        return int(self.token_bytes[rows[:, 1:]].sum())


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "evolve" / "training"


def load(track: Track, folder: str | Path | None = None, cache: Path | None = None) -> Dataset:
    """The data of a track: from a folder that was packed before, from shards, or from the help text.

    folder: holds `meta.json` (packed), parquet shards (also in `data/` below it), or `.bin` shards. None: the cache
    that `prepare` fills, or the help text where the track allows it. Raises TaskError saying what to do.
    """
    if folder is not None:
        place = Path(folder).expanduser()
        if (place / "meta.json").is_file():
            return opened(place, track)
        return _packed(track, place, cache or cache_folder())
    home = Path(os.path.expanduser("~/.cache/autoresearch" if track.task == "nanochat" else "~/.cache/modded-nanogpt"))
    if home.is_dir() and not track.help_text:
        return _packed(track, home, cache or cache_folder())
    if track.help_text:
        return _packed(track, None, cache or cache_folder())
    raise TaskError(
        f"track {track.id} needs its corpus: 'python -m evolve.evaluators.training.prepare {track.task}' downloads it, or "
        "--set evaluate.settings.data=FOLDER names a folder of shards"
    )


def opened(folder: Path, track: Track) -> Dataset:
    """A packed folder. Raises TaskError where it was packed for other constants."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    if meta["shape"] != _shape(track):
        raise TaskError(
            f"{folder} was packed for {meta['shape']}, track {track.id} needs {_shape(track)}; pack it again"
        )
    train, validation, holdout = (
        np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("train", "validation", "holdout")
    )
    return Dataset(train, validation, holdout, np.load(folder / "token_bytes.npy"), meta["digest"], meta["source"])


def _shape(track: Track) -> dict[str, int]:
    return {"sequence": track.sequence, "vocabulary": track.vocabulary, "validation": track.validation,
            "holdout": track.holdout}  # fmt: skip


def _packed(track: Track, source: Path | None, cache: Path) -> Dataset:
    """From the cache, or packed now. Two processes may both pack; the first to finish is kept."""
    listing = _listing(source) if source else [("help text", len(corpus.help_text()), 0)]
    facts = [VERSION, _shape(track), track.task, str(source), listing]
    place = cache / hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:16]
    if not (place / "meta.json").is_file():
        partial = place.with_name(f"{place.name}.{os.getpid()}")
        write(build(track, source), partial, track)
        try:
            partial.rename(place)
        except OSError:  # another process was quicker
            for path in partial.iterdir():
                path.unlink()
            partial.rmdir()
    return opened(place, track)


def _listing(folder: Path) -> list[tuple[str, int, int]]:
    paths = [p for p in sorted(folder.rglob("*")) if p.suffix in (".parquet", ".bin", ".pkl", ".json") and p.is_file()]
    return [(p.name, p.stat().st_size, int(p.stat().st_mtime)) for p in paths]


def write(dataset: Dataset, folder: Path, track: Track) -> None:
    """Write a packed folder that `load` takes on any machine: arrays and a meta.json with the digest."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("train", "validation", "holdout", "token_bytes"):
        np.save(folder / f"{name}.npy", getattr(dataset, name))
    meta = {"shape": _shape(track), "digest": dataset.digest, "source": dataset.source}
    (folder / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")


# ---- building --------------------------------------------------------------------------------------------------------


def build(track: Track, source: Path | None) -> Dataset:
    """Tokenise and pack a corpus for a track. `source` None: the help text."""
    if source is None:
        texts = corpus.split_help_text()
        tokenizer = bpe.train(texts[0], track.vocabulary)
        train, validation, holdout = (pack(_encode(tokenizer, part), track.sequence + 1) for part in texts)
        return _dataset(track, train, validation, holdout, tokenizer.token_bytes(), "the Python library's help text")
    if track.metric == "loss" and list(source.rglob("*.bin")):
        return _from_bins(track, source)
    return _from_parquet(track, source)


def _from_parquet(track: Track, source: Path) -> Dataset:
    if track.metric == "loss" and track.sequence < PACKED:
        return cut(_from_parquet(replace(track, sequence=PACKED), source), track)
    folder = source / "data" if (source / "data").is_dir() else source
    train, validation = corpus.shards(folder)
    tokenizer = tokenizer_of(track.vocabulary, source, train)
    documents = list(_encode(tokenizer, corpus.documents(validation)))
    scored, held = _split(documents, track)
    texts = itertools.chain.from_iterable(corpus.documents(path) for path in train)
    most = 2 * track.tokens // track.sequence if track.tokens else None
    rows = pack(_encode(tokenizer, texts), track.sequence + 1, most)
    return _dataset(track, rows, scored, held, tokenizer.token_bytes(), folder.name)


def cut(whole: Dataset, track: Track) -> Dataset:
    """The rows of a data set, end to end, cut again where the track's rows have another length."""
    if track.sequence == whole.train.shape[1] - 1:
        return whole
    parts = (whole.train, whole.validation, whole.holdout)
    train, validation, holdout = (chunk(rows[:, :-1].ravel(), track.sequence) for rows in parts)
    return _dataset(track, train, validation, holdout, whole.token_bytes.tolist(), whole.source)


def _split(documents: list[list[int]], track: Track) -> tuple[Rows, Rows]:
    """Validation rows as upstream's loader would deliver them, holdout rows from the documents these leave unused.

    Of a short shard two thirds are validation.
    """
    total = sum(map(len, documents)) // (track.sequence + 1)
    wanted = min(track.validation // track.sequence, max(total * 2 // 3, 1))
    packer = Packer(documents, track.sequence + 1, min(1000, max(len(documents) // 4, 1)))
    rows = list(itertools.islice(packer.rows(), wanted))
    unused = [documents[number] for number in (*packer.left(), *range(packer.read, len(documents)))]
    held = pack(unused, track.sequence + 1, track.holdout // track.sequence)
    return np.asarray(rows, dtype=np.uint16), held


def _from_bins(track: Track, source: Path) -> Dataset:
    paths = sorted(source.rglob("*.bin"))
    train = [path for path in paths if "train" in path.name]
    validation = [path for path in paths if "val" in path.name]
    if not train or not validation:
        raise TaskError(f"{source} needs .bin shards of both kinds, *_train_*.bin and *_val_*.bin")
    tokens = bins.stream(validation)
    wanted = min(track.validation, len(tokens) * 2 // 3)
    scored = chunk(tokens[: wanted + 1], track.sequence)
    held = chunk(tokens[wanted : wanted + track.holdout + 1], track.sequence)
    counts = np.ones(track.vocabulary, dtype=np.int32)
    return _dataset(track, chunk(bins.stream(train), track.sequence), scored, held, counts.tolist(), source.name)


def tokenizer_of(size: int, source: Path, train: Sequence[Path]) -> bpe.Tokenizer:
    """The folder's own tokenizer where it has one of this size (upstream's `tokenizer/tokenizer.pkl`, our JSON), else
    one trained on its training shards."""
    for folder in (source / "tokenizer", source, source.parent / "tokenizer"):
        for name in ("tokenizer.json", "tokenizer.pkl"):
            if (folder / name).is_file() and (found := bpe.Tokenizer.load(folder / name)).size == size:
                return found
    texts = itertools.chain.from_iterable(corpus.documents(path) for path in train)
    return bpe.train(_first(texts, TOKENIZER_TEXT.get(size, 64_000_000)), size)


def _first(texts: Iterable[str], characters: int) -> Iterator[str]:
    for text in texts:
        if characters <= 0:
            return
        characters -= min(len(text), 10_000)
        yield text


def _encode(tokenizer: bpe.Tokenizer, texts: Iterable[str]) -> Iterator[list[int]]:
    begin, encode = tokenizer.begin, _encoder(tokenizer)
    for text in texts:
        yield [begin, *encode(text)]


def _encoder(tokenizer: bpe.Tokenizer) -> Callable[[str], list[int]]:
    """tiktoken's encoder where it is installed (the same ids, faster), else ours."""
    try:
        import tiktoken  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return tokenizer.encode
    encoding = tiktoken.Encoding(
        "training",
        pat_str=tokenizer.pattern,
        mergeable_ranks=dict(tokenizer.ranks),
        special_tokens=dict(tokenizer.special),
    )
    encode: Callable[[str], list[int]] = encoding.encode_ordinary
    return encode


def _dataset(
    track: Track, train: Rows, validation: Rows, holdout: Rows, token_bytes: Sequence[int], source: str
) -> Dataset:
    for name, rows in (("training", train), ("validation", validation), ("holdout", holdout)):
        if not len(rows):
            raise TaskError(f"the corpus has too little text for one row of {name} data (track {track.id})")
    counts = np.asarray(token_bytes, dtype=np.int32)
    digest = hashlib.sha256(json.dumps(_shape(track)).encode())
    for array in (train, validation, holdout, counts):
        digest.update(np.ascontiguousarray(array).tobytes())
    return Dataset(train, validation, holdout, counts, digest.hexdigest(), source)
