"""Edits as models write them, applied all or not at all.

    apply(answer, files) -> Applied(files, tier, format) | Rejected(reason, for_model)

SEARCH/REPLACE blocks, unified diffs, whole files in fenced blocks, V4A patches and text-editor tool calls, for several
files at once. A text to replace is looked for exactly, then but for white space, then by similarity of at least 0.9
(`locate`); more than one place is a refusal. Nothing is guessed: what is left unclear goes back to the model in words.
"""

from evolve.edits.apply import apply
from evolve.edits.change import REASONS, Applied, Format, Rejected, Tier

__all__ = ["REASONS", "Applied", "Format", "Rejected", "Tier", "apply"]
