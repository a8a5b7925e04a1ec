"""Behavioural fingerprints: what a program answers on its task's probes, found out before an evaluation is paid for.

Stored at birth; a program that answers as a known one does is refused, and its mutator is told of the known verdict
(`evolve.gates.Probes` says what a task file gives). Runs in a sandbox of its own, opened when first needed.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from evolve.errors import SandboxError
from evolve.evaluators.sandbox import Sandbox
from evolve.evaluators.sandbox.ladder import open_sandbox
from evolve.gates import Probes
from evolve.population import events as ev
from evolve.population.brief import Brief, Proposal
from evolve.tasks.policy import check_edit

if TYPE_CHECKING:
    from evolve.search import Search

KEPT = 64
"""Fingerprints remembered by tree, so that a gate and the run do not probe a program twice."""


class Fingerprints:
    def __init__(self, search: Search, *, unsafe: bool = False) -> None:
        self.search, self.unsafe = search, unsafe
        self.probes = {name: found for name, ground in search.grounds.items() if (found := Probes.of(ground.task))}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._sandbox: Sandbox | None = None
        self._known: dict[tuple[str, str], str] = {}
        self._one = threading.Lock()

    def wanted(self) -> bool:
        """Whether any task of the run has probes, and the policy wants them used."""
        return bool(self.probes) and self.search.policy.fingerprints

    async def of(self, task: str, parent: str, changed: Mapping[str, bytes | None]) -> str:
        """Hex digest of a candidate (hex commit id) with some files changed; "" without probes or without an answer."""
        believed = self.search.policy.fingerprints and self.search.state.lineage.believes(task)
        if task not in self.probes or not believed:
            return ""
        before = self.search.state.candidates[parent].tree
        if changed and check_edit(self.search.grounds[task].task, self.search.modes(before), changed):
            return ""  # it will be refused for that
        tree = self.search.objects.edit(before, changed) if changed else before
        if changed and self.search.state.lineage.known_tree(task, tree):
            return ""  # and for that
        if (task, tree) not in self._known:
            files = self.search.objects.files(tree)
            try:
                found = await asyncio.to_thread(self._probe, task, files)
            except SandboxError as error:  # ours: the evaluation will meet it too, and say so
                self.search.append(ev.Spent("error", why=f"probes: {error}"[:500]))
                return ""
            while len(self._known) >= KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[(task, tree)] = found
        return self._known[(task, tree)]

    async def added(self, brief: Brief, proposal: Proposal) -> Proposal:
        """The proposal with its fingerprint."""
        if not proposal.files:
            return replace(proposal, behaviour="")
        parent = (proposal.parents or brief.parents)[0]
        return replace(proposal, behaviour=await self.of(brief.task, parent, proposal.files))

    async def of_seeds(self) -> None:
        """Put those of the seeds on record, where they are not."""
        for task in self.probes if self.wanted() else ():
            seed = self.search.state.lineage.seeds[task]
            if seed not in self.search.state.lineage.by_behaviour.values() and (found := await self.of(task, seed, {})):
                self.search.append(ev.Fingerprinted(task, seed, found))

    def close(self) -> None:
        if self._sandbox is not None:
            self._sandbox.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._sandbox = self._folder = None

    def _probe(self, task: str, files: Mapping[str, bytes]) -> str:
        with self._one:
            if self._sandbox is None:
                self._folder = tempfile.TemporaryDirectory(prefix="evolve-probes-")
                self._sandbox = open_sandbox(Path(self._folder.name), unsafe=self.unsafe)
            return self.probes[task].fingerprint(self._sandbox, files, self.search.grounds[task].task)
