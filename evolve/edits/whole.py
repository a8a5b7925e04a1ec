"""Whole files in fenced blocks."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence

from evolve.edits.change import FileEdit, Malformed
from evolve.edits.fences import TALK, Block, blocks, extension
from evolve.edits.paths import clean, looks_like_path

_ELISION = re.compile(
    r"^\s*(?:#|//|/\*|--|;|%|<!--|\"\"\")?\s*[\[(]?\s*(?:\.\.\.|…)?\s*"
    r"(?:(?:the\s+)?(?:rest|remainder)\s+of\s+(?:the\s+)?\w+|(?:keep\s+)?(?:existing|remaining|previous|original|other)\s+(?:code|functions?|methods?|imports?|lines|content)"
    r"|(?:code|everything|rest|same|unchanged)\s+(?:else\s+)?(?:(?:is|as|stays|remains)\s+)*(?:unchanged|same|before|above|here|omitted)"
    r"|unchanged|omitted)\b.{0,60}$",
    re.IGNORECASE,
)
_DOTS = re.compile(r"^\s*(?:#|//|/\*|--|;|%|<!--)\s*(?:\.\.\.|…)")
_COMMENT_NAME = re.compile(
    r"^\s*(?:#|//|/\*|--|;|<!--)\s*(?:(?i:file|path|filename)\s*:)?\s*(?P<name>[\w./-]+)\s*(?:\*/|-->)?\s*$"
)


def parse(lines: Sequence[str], files: Mapping[str, bytes]) -> list[FileEdit]:
    """One FileEdit a file given. `files`: those that may be edited now.

    Raises Malformed where no block is a file, or it is not clear which.
    """
    found = [block for block in blocks(lines) if block.lines]
    if not found:
        return _bare(lines, files)
    named, unnamed = [], []
    for block in found:
        name = block.name or _in_comment(block, files)
        if name:
            named.append((name, block))
        elif block.language not in TALK:
            unnamed.append(block)
    if not named:
        named = [_only(unnamed, files)]
    for name, block in named:
        if not block.closed:
            raise Malformed(
                "truncated", f"The answer ends inside the block of {name}. Send the whole file in a closed block."
            )
    names = [name for name, _ in named]
    if twice := {name for name in names if names.count(name) > 1}:
        raise Malformed("ambiguous", f"{min(twice)} is given more than once. Send each file once, whole.")
    return [FileEdit(name, "write", content=_content(name, block, files)) for name, block in named]


def _content(name: str, block: Block, files: Mapping[str, bytes]) -> str:
    lines = list(block.lines)
    match = _COMMENT_NAME.match(lines[0]) if lines else None
    old = files.get(name, b"").decode("utf-8", "replace").split("\n")
    if match and clean(match["name"]) == name and lines[0].rstrip() != old[0].rstrip():
        lines = lines[1:]
    return "\n".join(lines) + "\n"


def _in_comment(block: Block, files: Mapping[str, bytes]) -> str | None:
    match = _COMMENT_NAME.match(block.lines[0])
    name = clean(match["name"]) if match else ""
    return name if name in files else None


def _only(unnamed: Sequence[Block], files: Mapping[str, bytes]) -> tuple[str, Block]:
    """The one block without a name that is the one file there is."""
    if not unnamed:
        raise Malformed(
            "empty", "No file is given. Send each changed file whole in a fenced block, its path in the line above."
        )
    if len(files) != 1:
        matching = [path for path in files if path.endswith(extension(unnamed[0].language) or "\0")]
        if len(unnamed) != 1 or len(matching) != 1:
            raise Malformed(
                "ambiguous", f"Which file is the block? Put its path in the line above: {', '.join(sorted(files))}."
            )
        path = matching[0]
    else:
        path = next(iter(files))
    same = [b for b in unnamed if not b.language or not extension(b.language) or path.endswith(extension(b.language))]
    if len(same) != 1:
        raise Malformed(
            "ambiguous",
            f"There are {len(unnamed)} code blocks and none says which file it is. "
            f"Send one block, with the path {path} above it.",
        )
    if _is_part(path, same[0], files[path]):
        raise Malformed("elided", f"The block is a part of {path}. Send the whole file, or a SEARCH/REPLACE block.")
    return path, same[0]


def _is_part(path: str, block: Block, old: bytes) -> bool:
    """Whether a nameless block is a snippet of the file rather than a new version of it."""
    before = old.decode("utf-8", "replace").split("\n")
    if len(block.lines) * 3 >= len(before) or not path.endswith(".py"):
        return False
    try:
        new, known = _definitions("\n".join(block.lines)), _definitions("\n".join(before))
    except (SyntaxError, ValueError):
        return True
    return new < known or (not new and bool(known))


def _definitions(source: str) -> set[str]:
    kinds = ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef
    return {node.name for node in ast.parse(source).body if isinstance(node, kinds)}


def _bare(lines: Sequence[str], files: Mapping[str, bytes]) -> list[FileEdit]:
    """An answer that is nothing but the program."""
    text = "\n".join(lines).strip("\n") + "\n"
    path = next(iter(files), "")
    if len(files) == 1 and path.endswith(".py"):
        try:
            if len(ast.parse(text).body) >= 2:
                return [FileEdit(path, "write", content=text)]
        except (SyntaxError, ValueError):
            pass
    raise Malformed("empty", "There is no edit in the answer. Send the change in the format asked for.")


def elision(new: Sequence[str], old: Sequence[str]) -> str | None:
    """A line of `new` that stands for code left out, unless the old text has it too."""
    known = {line.strip() for line in old}
    for line in new:
        if line.strip() and line.strip() not in known and (_DOTS.match(line) or _ELISION.match(line)):
            return line.strip()
    return None


__all__ = ["elision", "looks_like_path", "parse"]
