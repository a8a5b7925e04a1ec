"""Novelty by a pluggable embedder instead of token fingerprints: an extra that others install (docs/search.md).

An embedder is registered under the entry point group `evolve.embedders` and asked for by `--embedder NAME`. It must be
deterministic: what it says takes part in choosing parents, and a resume is a replay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from evolve.population.novelty import Novelty
from evolve.tasks.errors import UsageError

GROUP = "evolve.embedders"


@runtime_checkable
class Embedder(Protocol):
    """Texts to vectors of one length; near in angle means alike."""

    @property
    def name(self) -> str: ...

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Shape (len(texts), d). The same texts give the same rows, on every call."""
        ...


def load(name: str) -> Embedder | None:
    """An embedder by name, None for "". Raises UsageError for one that is not installed or is none."""
    if not name:
        return None
    from importlib.metadata import entry_points

    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        known = ", ".join(found) or "none is installed"
        raise UsageError(f"unknown embedder {name!r}; known: {known} (entry point group {GROUP})")
    loaded = found[name].load()
    made = loaded() if isinstance(loaded, type) else loaded
    if not isinstance(made, Embedder):
        raise UsageError(f"embedder {name!r} is a {type(made).__name__} without name and embed")
    return made


class EmbeddedNovelty(Mapping[str, float]):
    """key -> mean cosine distance (0..1) to its nearest others, computed when first asked for."""

    def __init__(self, embedder: Embedder, texts: Mapping[str, str]) -> None:
        self._embedder, self._texts = embedder, dict(texts)
        self._found: dict[str, float] | None = None

    def _compute(self) -> dict[str, float]:
        if self._found is None:
            self._found = dict.fromkeys(self._texts, 1.0)
            if len(self._texts) > 1:
                rows = np.asarray(self._embedder.embed(list(self._texts.values())), dtype=np.float64)
                if rows.ndim != 2 or len(rows) != len(self._texts):
                    raise ValueError(f"embedder {self._embedder.name!r} gave shape {rows.shape} for {len(self._texts)} texts")
                rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
                apart = np.clip((1 - rows @ rows.T) / 2, 0.0, 1.0)
                np.fill_diagonal(apart, np.inf)
                near = np.sort(apart, axis=1)[:, : min(Novelty.NEAREST, len(rows) - 1)].mean(axis=1)
                self._found.update(zip(self._texts, near.tolist(), strict=True))
        return self._found

    def __getitem__(self, key: str) -> float:
        return self._compute()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)
