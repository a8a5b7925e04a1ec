"""What changed between two trees, as rows a page can show: files, hunks, lines. Text only, never markup."""

from __future__ import annotations

from typing import Any

import pygit2

from evolve.population.git import Store

MOST_LINES = 20_000
"""Lines of one answer; the rest is counted, not sent."""

_STATUS = {"A": "added", "D": "deleted", "M": "changed", "R": "renamed", "C": "copied", "T": "retyped"}


def difference(store: Store, before: str, after: str, context: int = 3) -> dict[str, Any]:
    """Files changed from commit or tree `before` to `after`, renames found as git finds them.

    A line is [kind, old number or null, new number or null, text], kind "+", "-" or " ". `cut`: lines left out.
    """
    repository = store.repository()
    first, second = (repository[store.tree_of(oid)].peel(pygit2.Tree) for oid in (before, after))
    found = first.diff_to_tree(second, context_lines=context, interhunk_lines=1)
    found.find_similar()
    left, cut = MOST_LINES, 0
    files = []
    for patch in found:
        if patch is None:
            continue
        hunks = []
        for hunk in patch.hunks:
            lines = hunk.lines
            kept = lines[:left]
            left -= len(kept)
            cut += len(lines) - len(kept)
            if kept:
                hunks.append({"header": hunk.header.strip(), "lines": [_line(line) for line in kept]})
        files.append(_file(patch, hunks))
    return {"files": files, "cut": cut}


def _file(patch: Any, hunks: list[dict[str, Any]]) -> dict[str, Any]:
    delta = patch.delta
    _, added, removed = patch.line_stats
    return {
        "path": delta.new_file.path,
        "old_path": delta.old_file.path,
        "status": _STATUS.get(delta.status_char(), "changed"),
        "binary": bool(delta.flags & pygit2.enums.DiffFlag.BINARY),
        "added": added,
        "removed": removed,
        "hunks": hunks,
    }


def _line(line: Any) -> list[Any]:
    kind = line.origin if line.origin in "+- " else "\\"
    old, new = (n if n > 0 else None for n in (line.old_lineno, line.new_lineno))
    return [kind, old, new, line.content.rstrip("\n")]
