"""Where text comes from: parquet shards laid out as nanochat's, or the Python library's own help text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from evolve.tasks.errors import TaskError

SHARD = re.compile(r"shard_(\d{5})\.parquet")
VALIDATION_SHARD = 6542
"""The pinned validation shard of the upstream corpus; every other shard is training data."""


def shards(folder: Path) -> tuple[list[Path], Path]:
    """(training shards sorted by name, the pinned validation shard). Raises TaskError where either is missing."""
    found = {int(m[1]): path for path in sorted(folder.glob("shard_*.parquet")) if (m := SHARD.fullmatch(path.name))}
    validation = found.pop(VALIDATION_SHARD, None)
    if validation is None:
        raise TaskError(f"{folder} holds no shard_{VALIDATION_SHARD:05d}.parquet, the pinned validation shard")
    if not found:
        raise TaskError(f"{folder} holds no training shard, such as shard_00000.parquet")
    return [found[number] for number in sorted(found)], validation


def documents(path: Path) -> Iterator[str]:
    """The `text` column of a parquet shard, in its order. Raises TaskError where it cannot be read."""
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise TaskError("reading parquet shards needs pyarrow: pip install 'evolve-search[training]'") from error
    try:
        file = parquet.ParquetFile(path)
        for group in range(file.num_row_groups):
            yield from file.read_row_group(group, columns=["text"]).column("text").to_pylist()
    except (OSError, KeyError, ValueError) as error:  # pyarrow's errors are kinds of these
        raise TaskError(f"{path} is no parquet shard with a column 'text': {error}; fetch it again") from error


def check(path: Path) -> int:
    """Documents in a shard. Raises TaskError for one that is cut off or has no text column."""
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise TaskError("reading parquet shards needs pyarrow: pip install 'evolve-search[training]'") from error
    try:
        file = parquet.ParquetFile(path)
        names = file.schema_arrow.names
        count = int(file.metadata.num_rows)
    except (OSError, ValueError) as error:
        raise TaskError(f"{path} is no parquet file: {error}; fetch it again") from error
    if "text" not in names:
        raise TaskError(f"{path} has columns {names}, none called 'text'")
    return count


# ---- the text that is always there -----------------------------------------------------------------------------------


def help_text() -> list[str]:
    """Paragraphs of `pydoc_data.topics`, the Python library's help: about 0.5 MB of English, another one a version."""
    from pydoc_data import topics  # type: ignore[import-not-found, unused-ignore]

    out, seen = [], set()
    for name in sorted(topics.topics):
        for paragraph in re.split(r"\n{2,}", topics.topics[name]):
            text = re.sub(r"[ \t]+", " ", paragraph).strip()
            if len(text) >= 40 and text not in seen:  # topics repeat each other's sections
                seen.add(text)
                out.append(text)
    return out


def split_help_text() -> tuple[list[str], list[str], list[str]]:
    """(training, validation, holdout) documents: about 8 : 1 : 1, by a hash of the text, the order shuffled by it."""
    parts: tuple[list[str], list[str], list[str]] = ([], [], [])
    for text in sorted(help_text(), key=_hash):
        share = int(_hash(text)[-8:], 16) % 10
        parts[2 if share == 9 else 1 if share == 8 else 0].append(text)
    return parts


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def help_files() -> list[Path]:
    """The files that text lies in, in this Python: hidden from a candidate, which could else learn it by heart."""
    from pydoc_data import topics  # type: ignore[import-not-found, unused-ignore]

    source = Path(topics.__file__)
    return [path for path in (source, *sorted((source.parent / "__pycache__").glob("topics.*"))) if path.is_file()]
