"""The table of candidates: filter, sort, and out as CSV, JSON lines or Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from evolve.errors import UsageError
from evolve.population.candidate import Candidate
from evolve.web.pages import line

if TYPE_CHECKING:
    from evolve.web.runs import Live

SORTS = ("number", "fitness", "born", "depth", "children", "operator", "model", "island", "status", "idea", "standing", "kind")
MOST_ROWS = 500


def matching(live: Live, query: Mapping[str, str]) -> list[Candidate]:
    """Candidates that pass `status`, `island`, `operator`, `model`, `task`, `standing`, `kind` and the words of `q`
    (in idea, operator, model, reason; `#number`; the beginning of a commit), sorted by `sort` (`-` first: down).

    Raises UsageError for an unknown sort.
    """
    found = list(live.order)
    for name in ("island", "operator", "model", "task"):
        if wanted := query.get(name):
            found = [c for c in found if getattr(c, name) == wanted]
    if wanted := query.get("status"):
        found = [c for c in found if (c.verdict.status.value if c.verdict else "unjudged") == wanted]
    if wanted := query.get("standing"):
        found = [c for c in found if c.standing.value == wanted]
    if wanted := query.get("kind"):
        found = [c for c in found if c.verdict and c.verdict.kind == wanted]
    if query.get("champions"):
        found = [c for c in found if c.was_champion]
    for word in query.get("q", "").lower().split():
        found = [c for c in found if _has(c, word)]
    return _sorted(found, query.get("sort", ""))


def _has(c: Candidate, word: str) -> bool:
    if word.startswith("#"):
        return str(c.number) == word[1:]
    reason = c.verdict.reason if c.verdict else ""
    return (
        word in c.idea.lower()
        or word in c.operator.lower()
        or word in c.model.lower()
        or c.commit.startswith(word)
        or word in reason.lower()
    )


def _sorted(found: list[Candidate], sort: str) -> list[Candidate]:
    down, name = sort.startswith("-"), sort.lstrip("-")
    if not name:
        return found
    if name not in SORTS:
        raise UsageError(f"cannot sort by {name!r}; by {', '.join(SORTS)}")
    if name == "fitness":
        scored = [c for c in found if c.fitness is not None]
        rest = [c for c in found if c.fitness is None]
        return sorted(scored, key=lambda c: (c.fitness, -c.number), reverse=down) + rest
    if name in ("status", "kind"):
        return sorted(found, key=lambda c: getattr(c.verdict, name, "") if name == "kind" else _status(c), reverse=down)
    if name == "standing":
        return sorted(found, key=lambda c: c.standing.value, reverse=down)
    return sorted(found, key=lambda c: getattr(c, name), reverse=down)


def _status(c: Candidate) -> str:
    return c.verdict.status.value if c.verdict else "unjudged"


def page(live: Live, query: Mapping[str, str]) -> dict[str, Any]:
    """`offset`, `limit` (at most 500): the rows of one page, how many there are in all, and what filters can be."""
    found = matching(live, query)
    offset, limit = _number(query, "offset", 0), min(_number(query, "limit", 100), MOST_ROWS)
    return {
        "total": len(found),
        "offset": offset,
        "rows": [line(live, c) for c in found[offset : offset + limit]],
        "values": {
            "status": ["unjudged", "scored", "invalid", "audit", "cheat"],
            "island": sorted({c.island for c in live.order}),
            "operator": sorted({c.operator for c in live.order}),
            "task": list(live.tasks),
            "kind": sorted(live.state.lineage.failures),
        },
        "metrics": {name: {"name": t.objectives[0].name, "sign": t.objectives[0].sign, "unit": t.objectives[0].unit}
                    for name, t in live.tasks.items()},
        "version": live.version,
    }  # fmt: skip


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, "")
    return int(text) if text.isdigit() and len(text) < 10 else default


def csv_lines(live: Live, query: Mapping[str, str]) -> Iterator[str]:
    """A header and one line a candidate, all metrics included; text that a spreadsheet would run is quoted."""
    found = matching(live, query)
    metrics = list(dict.fromkeys(name for c in found if c.verdict for name in c.verdict.metrics))
    fixed = ["number", "commit", "task", "status", "fitness", "low", "high", "standing", "operator", "model", "island",
             "depth", "children", "born", "kind", "reason", "idea"]  # fmt: skip
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow([*fixed, *metrics])
    for c in found:
        values = line(live, c)
        means = [c.verdict.metrics[m].mean if c.verdict and m in c.verdict.metrics else None for m in metrics]
        writer.writerow([*(_inert(values[name]) for name in fixed), *means])
        if buffer.tell() > 1 << 16:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _inert(value: Any) -> Any:
    """A model's text must not become a formula in a spreadsheet."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value


def parquet(live: Live, query: Mapping[str, str]) -> bytes:
    """Raises UsageError where pandas and pyarrow are not installed."""
    from evolve.population import frames

    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise UsageError("Parquet needs pyarrow: pip install 'evolve-search[analysis]'") from error
    frame = frames.candidates(live.state)
    kept = frame.loc[[c.number for c in matching(live, query)]]
    kept.attrs = {}
    buffer = io.BytesIO()
    kept.to_parquet(buffer)
    return buffer.getvalue()
