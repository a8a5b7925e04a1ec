"""What a mutator works from, for one brief: read-only texts, and a recorded line to the outside."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from evolve.errors import BudgetSpent
from evolve.fingerprints import Fingerprints
from evolve.gates import audited
from evolve.mutators import Reply
from evolve.population import events as ev
from evolve.population.brief import Brief
from evolve.population.candidate import Candidate
from evolve.population.novelty import shape
from evolve.search import Search
from evolve.tasks.evidence import Artifact, Evidence, bounded

REQUEST_CAP = 1 << 20
"""Bytes of a request or an answer kept in the archive."""


class Logs(Protocol):
    """Events of an archive with what is kept beside them."""

    def event(self, oid: str) -> ev.Event: ...
    def artifact(self, oid: str, name: str) -> bytes | None: ...
    def artifacts(self, oid: str) -> tuple[str, ...]: ...


class Books(Logs, Protocol):
    """What the desk needs of the archive beyond the search."""

    def file(self, tree: str, path: str) -> bytes | None: ...
    def merge_base(self, ours: str, theirs: str) -> str | None: ...
    def merge(self, base: str, ours: str, theirs: str) -> str | None: ...


def with_logs(books: Logs, oid: str) -> Evidence | None:
    """The evidence of a measured event with its logs, which the archive keeps beside it."""
    event = books.event(oid)
    if not isinstance(event, ev.Measured):
        return None
    logs = []
    for name in books.artifacts(oid):
        data = books.artifact(oid, name)
        if data is not None:
            logs.append(Artifact(name, data.decode("utf-8", "replace")))
    return replace(event.evidence, artifacts=tuple(logs))


class RunDesk:
    """The `Desk` of one brief (see `evolve.mutators.Desk` for the contract)."""

    def __init__(
        self, search: Search, books: Books, brief: Brief, durable: Callable[[], Awaitable[None]],
        fingerprints: Fingerprints | None = None,
    ) -> None:  # fmt: skip
        self.search, self.books, self.brief, self._durable = search, books, brief, durable
        self._fingerprints = fingerprints
        self.task = search.grounds[brief.task].task
        self._call = 0

    def files(self, commit: str) -> Mapping[str, bytes]:
        return self.search.files_of(self.task, self.candidate(commit))

    def read(self, commit: str, path: str) -> bytes | None:
        return self.books.file(self.candidate(commit).tree, path)

    def candidate(self, commit: str) -> Candidate:
        return self.search.state.candidates[commit]

    def evidence(self, commit: str) -> tuple[Evidence, ...]:
        oids = self.search.state.lineage.measured.get(commit, ())
        return tuple(found for oid in oids if (found := with_logs(self.books, oid)) is not None)

    def children(self, commit: str) -> tuple[Candidate, ...]:
        lineage = self.search.state.lineage
        born = (lineage.candidates[child] for child in lineage.children.get(commit, ()))
        return tuple(child for child in born if child.parents[0] == commit)

    def merge_base(self, ours: str, theirs: str) -> str | None:
        return self.books.merge_base(ours, theirs)

    def merge(self, base: str, ours: str, theirs: str) -> Mapping[str, bytes] | None:
        tree = self.books.merge(base, ours, theirs)
        return None if tree is None else self.search.objects.files(tree, self.task.may_edit)

    # ---- the recorded line ---------------------------------------------------------------------------------------

    async def call(
        self,
        request: bytes,
        send: Callable[[bytes], Awaitable[Reply]],
        *,
        model: str,
        money: float | None = None,
        tokens: int = 0,
    ) -> Reply:
        digest = hashlib.sha256(request).hexdigest()
        if (reply := self._recorded(digest, model)) is not None:
            return reply
        number = self._call
        if (self.brief.number, number) not in self.search.state.pending.requests:
            self._reserve(model, money, tokens)
            kept = bounded(f"request-{number}", request.decode("utf-8", "replace"), REQUEST_CAP)
            self.search.append(ev.Requested(self.brief.number, number, digest, model, money, tokens), [kept])
        self._call += 1
        await self._durable()
        began = time.monotonic()
        reply = await send(request)
        self.search.append(
            ev.Answered(
                self.brief.number, number, model, reply.outcome, reply.money, reply.tokens_in, reply.tokens_cached,
                reply.tokens_out, time.monotonic() - began,
            ),
            [Artifact(f"answer-{number}", reply.body.decode("utf-8", "replace"))],
        )  # fmt: skip
        await self._durable()
        return reply

    def batch_of(self, digest: str) -> str | None:
        return self.search.state.pending.batches.get(digest)

    async def batched(self, batch: str, model: str, digests: Sequence[str]) -> None:
        self.search.append(ev.Batched(batch, model, tuple(digests)))
        await self._durable()

    def known(self, files: Mapping[str, bytes]) -> Candidate | None:
        """The candidate that has these editable files already, but for layout and comments."""
        commit = self.search.state.lineage.known_shape(self.task.name, shape(files))
        return self.search.state.candidates[commit] if commit else None

    async def behaves_as(self, files: Mapping[str, bytes | None]) -> Candidate | None:
        """The candidate that answers the task's probes as the brief's first parent with these files changed does."""
        if self._fingerprints is None or audited(self.brief.number):
            return None
        found = await self._fingerprints.of(self.brief.task, self.brief.parents[0], files)
        commit = self.search.state.lineage.known_behaviour(self.brief.task, found)
        return self.search.state.candidates[commit] if commit else None

    def everything(self, commit: str) -> tuple[dict[str, bytes], dict[str, int]]:
        """All regular files of a candidate's tree, and path -> git mode of all its entries."""
        tree = self.candidate(commit).tree
        return self.search.objects.files(tree), dict(self.search.modes(tree))

    # ---- answers from outside ------------------------------------------------------------------------------------

    def lease(self) -> ev.Leased | None:
        """The lease on this brief, if somebody took one."""
        return self.search.state.pending.leases.get(self.brief.number)

    def told(self) -> tuple[ev.Told, Mapping[str, bytes | None]] | None:
        """What somebody outside answered to this brief, with the content of each changed file."""
        oid = self.search.state.pending.told.get(self.brief.number)
        event = self.books.event(oid) if oid else None
        if not isinstance(event, ev.Told):
            return None
        if not event.commit:
            return event, {}
        before = {e.path: e for e in self.search.objects.entries(self.candidate(self.brief.parents[0]).tree)}
        after = {e.path: e for e in self.search.objects.entries(event.commit)}
        changed: dict[str, bytes | None] = dict.fromkeys(before.keys() - after.keys())
        for path, entry in after.items():
            if path not in before or before[path].oid != entry.oid:
                changed[path] = self.books.file(event.commit, path)
        return event, changed

    def closing(self) -> bool:
        """Whether the run is ending, so that nobody outside is waited for any longer."""
        return self.search.closing()

    def _recorded(self, digest: str, model: str) -> Reply | None:
        """The answer on record to this very request; closes requests whose answer never came (charged in full)."""
        pending = self.search.state.pending
        while (key := (self.brief.number, self._call)) in pending.requests:
            oid = pending.calls.get(key)
            if oid is None and pending.requests[key] == digest and digest in pending.batches:
                return None  # it is in a batch that goes on without us: the same call is waited for
            if oid is None:
                lost = self.search.state.ledger.open_requests.get(key)
                self.search.append(
                    ev.Answered(*key, model, "lost", lost.money if lost else None, tokens_in=lost.tokens if lost else 0)
                )
            elif pending.requests[key] == digest:
                event, body = self.books.event(oid), self.books.artifact(oid, f"answer-{self._call}")
                if isinstance(event, ev.Answered) and event.outcome != "lost" and body is not None:
                    self._call += 1
                    return Reply(
                        body, event.outcome, event.money, event.tokens_in, event.tokens_cached, event.tokens_out
                    )
            self._call += 1
        return None

    def _reserve(self, model: str, money: float | None, tokens: int) -> None:
        ledger = self.search.state.ledger
        if money is None and "money" in ledger.limits:
            raise BudgetSpent(f"a limit of money cannot be kept: the price of {model!r} is not known; give it in models.toml, or tokens")
        if (money or 0.0) > ledger.left("money"):
            raise BudgetSpent(f"a request may cost {money:.4f} dollars and {ledger.left('money'):.4f} are left")
        if tokens > ledger.left("tokens"):
            raise BudgetSpent(f"a request may take {tokens} tokens and {ledger.left('tokens'):.0f} are left", "tokens")
