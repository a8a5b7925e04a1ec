"""What an answer asks for, whatever format it came in; and what became of it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


class Tier(enum.IntEnum):
    """How far an edit's text had to be bent to fit the file; an edit's tier is its worst part's."""

    EXACT = 0
    WHITESPACE = 1
    FUZZY = 2


class Format(enum.Enum):
    SEARCH_REPLACE = "search-replace"
    UNIFIED = "unified"
    WHOLE = "whole"
    V4A = "v4a"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class Applied:
    """files: path -> whole new content (None: deleted) of every file that changed. tier: the worst of its parts."""

    files: Mapping[str, bytes | None]
    tier: Tier
    format: Format


@dataclass(frozen=True, slots=True)
class Rejected:
    """reason: one word of `REASONS`. for_model: what did not fit, the nearest lines, and what to send instead."""

    reason: str
    for_model: str
    format: Format | None = None


REASONS = (
    "empty",  # no edit in the answer
    "malformed",  # markers or fields that make no edit
    "truncated",  # the answer ends inside an edit
    "elided",  # "rest of the code unchanged"
    "not-found",  # the text to replace is not in the file
    "ambiguous",  # it is there more than once, or the file meant is not clear
    "path",  # leaves the tree, is absolute, or is git's
    "protected",  # a file that may not change
    "missing",  # a file that is not there
    "binary",  # a file that is no text
    "no-op",  # nothing would change
)


class Malformed(Exception):
    """Raised inside this package only: an answer that is no edit. Becomes a `Rejected`."""

    def __init__(self, reason: str, for_model: str) -> None:
        super().__init__(for_model)
        self.reason, self.for_model = reason, for_model


@dataclass(frozen=True, slots=True)
class Hunk:
    """`old` lines (without ends) give way to `new`.

    anchors: lines said to stand above it (V4A, a unified hunk's heading). line: where it is said to begin, from 1.
    lead, tail: how many of its first and last lines are mere context. raw: (old, new) as text, where the format
    replaces any part of a line (the text-editor tool). after: insert `new` after this line, 0 for the top.
    alternatives: other ways to split old from new, where the text holds more than one divider.
    """

    old: tuple[str, ...]
    new: tuple[str, ...]
    anchors: tuple[str, ...] = ()
    line: int | None = None
    lead: int = 0
    tail: int = 0
    raw: tuple[str, str] | None = None
    after: int | None = None
    alternatives: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    at_end: bool = False


@dataclass(slots=True)
class FileEdit:
    """path: as the answer has it; None where it names none. ordered: hunks come in the file's order."""

    path: str | None
    action: Literal["patch", "write", "delete"] = "patch"
    hunks: list[Hunk] = field(default_factory=list)
    content: str = ""
    move_to: str | None = None
    ordered: bool = False
    create: bool = False
