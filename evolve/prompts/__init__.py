"""Prompt templates: text files with `$name` places (string.Template), one an operator. `render` fills them."""

from __future__ import annotations

import functools
from importlib import resources
from string import Template


@functools.cache
def template(name: str) -> Template:
    """The template of that name. Raises FileNotFoundError."""
    text = (resources.files("evolve.prompts") / f"{name}.md").read_text(encoding="utf-8")
    return Template(text.rstrip("\n"))


def render(name: str, /, **values: str) -> str:
    """The template filled in. Raises KeyError for a place without a value."""
    return template(name).substitute(values)
