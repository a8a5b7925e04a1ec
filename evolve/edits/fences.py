"""Fenced blocks of a Markdown answer, with the file each is said to be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from evolve.edits.paths import clean, looks_like_path

OPEN = re.compile(r"^(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`]*)$")

_LANGUAGES = {
    "python": ".py", "py": ".py", "python3": ".py", "c": ".c", "cpp": ".cpp", "c++": ".cpp", "cuda": ".cu",
    "rust": ".rs", "rs": ".rs",
    "javascript": ".js", "js": ".js", "typescript": ".ts", "ts": ".ts", "java": ".java", "go": ".go", "toml": ".toml",
    "json": ".json", "yaml": ".yaml", "yml": ".yaml", "markdown": ".md", "md": ".md", "sql": ".sql",
}  # fmt: skip

TALK = ("bash", "sh", "shell", "console", "shell-session", "text", "txt", "output", "plaintext", "diff", "log")
"""Languages of blocks that show something rather than give a file, unless they name one."""


@dataclass(frozen=True, slots=True)
class Block:
    """name: the file it is said to be, or None. closed: its end was seen. at: line of the answer after the opening."""

    name: str | None
    language: str
    lines: tuple[str, ...]
    closed: bool
    at: int


def blocks(lines: Sequence[str]) -> list[Block]:
    """Fenced blocks in order. A Markdown block may hold blocks of its own."""
    out, i = [], 0
    while i < len(lines):
        match = OPEN.match(lines[i])
        if not match:
            i += 1
            continue
        info = match["info"].strip()
        language, name = _info(info)
        end = _end(lines, i + 1, match["fence"], nested=language in ("md", "markdown"))
        body = lines[i + 1 : end]
        if indent := match["indent"]:
            body = [line.removeprefix(indent) for line in body]
        out.append(Block(name or _above(lines, i), language, tuple(body), end < len(lines), i + 1))
        i = end + 1
    return out


def _end(lines: Sequence[str], start: int, fence: str, *, nested: bool) -> int:
    depth = 0
    for i in range(start, len(lines)):
        match = OPEN.match(lines[i])
        if not match or match["fence"][0] != fence[0] or len(match["fence"]) < len(fence):
            continue
        if match["info"].strip():
            depth += nested
        elif depth:
            depth -= 1
        else:
            return i
    return len(lines)


def _info(info: str) -> tuple[str, str | None]:
    """Language and file name of an opening fence's info string."""
    info = info.strip("{}").strip()
    if match := re.search(r"(?:title|file|filename|path|name)\s*=\s*[\"']?([^\"'\s}]+)", info):
        return info.split()[0].lstrip(".").lower(), match[1]
    words = info.split()
    if not words:
        return "", None
    if ":" in words[0] and looks_like_path(words[0].split(":", 1)[1]):
        language, name = words[0].split(":", 1)
        return language.lower(), name
    for word in words:
        if looks_like_path(clean(word)) and word.lower() not in _LANGUAGES:
            return (words[0].lower() if word is not words[0] else ""), clean(word)
    return words[0].lower(), None


def _above(lines: Sequence[str], at: int) -> str | None:
    """The name in the last line before a fence, where that line is nothing but a name."""
    for i in range(at - 1, max(at - 3, -1), -1):
        if lines[i].strip():
            name = clean(lines[i])
            if looks_like_path(name):
                return name
            if match := re.match(r"^.{0,60}?`([^`]+)`\s*(?:\([^)]*\))?:?\**$", lines[i].strip()):
                return clean(match[1]) if looks_like_path(clean(match[1])) else None
            return None
    return None


def extension(language: str) -> str:
    return _LANGUAGES.get(language, "")
