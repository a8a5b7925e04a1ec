"""What a person may do from the browser where `--allow-actions` is on: each is one event on a log of the server's own,
as the command of the same name would write it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evolve.errors import UsageError
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.web.details import find
from evolve.web.runs import Live

MOST_TEXT = 4000


def event_of(live: Live, body: Mapping[str, Any]) -> ev.Event:
    """The event a request asks for: {"action": ..., "candidate": number, "text": ..., "task": ...}. Raises UsageError."""
    action, text = str(body.get("action", "")), str(body.get("text", "")).strip()
    if len(text) > MOST_TEXT:
        raise UsageError(f"the text has {len(text)} characters; at most {MOST_TEXT}")
    if action == "directive":
        if not text:
            raise UsageError("a directive needs a text")
        return ev.Directive(text, str(body.get("task", "")))
    if action in ("pause", "resume", "stop"):
        return ev.Paused({"pause": "paused", "resume": "running", "stop": "stopping"}[action], text)
    if action in ("pin", "unpin", "suspect", "release"):
        with live.lock:
            c = find(live, str(body.get("candidate", "")))
        if action in ("pin", "unpin"):
            return ev.Pinned(c.task, c.commit, action == "pin")
        if action == "suspect":
            if c.commit == live.state.lineage.seeds.get(c.task):
                raise UsageError("the seed is everybody's ancestor; mark what was made of it")
            return ev.Quarantined(c.task, c.commit, text or "marked suspicious by a person", c.commit)
        return ev.Released(c.task, c.commit, text or "released by a person")
    raise UsageError(f"unknown action {action!r}; there are: directive, pause, resume, stop, pin, unpin, suspect, release")


def act(archive: Archive, live: Live, body: Mapping[str, Any]) -> ev.Event:
    """Put it on record, durably. Call with the archive's reading lock held."""
    event = event_of(live, body)
    writer = archive.writer(live.run)
    try:
        writer.append(event)
        writer.flush()
    finally:
        writer.close()
    return event
