"""A model as mutator: one prompt, one edit, one repair turn, else stillborn."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from evolve.edits import Rejected, apply
from evolve.errors import UsageError
from evolve.gates import Problem, Smoke, duplicate, smoke, unparsable
from evolve.models import Answer, Model, Prompt, Turn, complete
from evolve.mutators import Desk
from evolve.mutators.prompting import build
from evolve.population.brief import Brief, Family, Proposal
from evolve.population.candidate import Candidate
from evolve.prompts import render
from evolve.tasks.evidence import bounded


class GatedDesk(Desk, Protocol):
    """What a desk shows to gates."""

    def known(self, files: Mapping[str, bytes]) -> Candidate | None: ...
    def everything(self, commit: str) -> tuple[dict[str, bytes], dict[str, int]]: ...
    async def behaves_as(self, files: Mapping[str, bytes | None]) -> Candidate | None: ...


OPERATORS = ("improve", "explore", "resample", "simplify", "fix", "combine", "port", "tactic")

WHY_CAP = 20_000


@dataclass(slots=True)
class ModelMutator:
    """models: by name, the cheapest first; `brief.hint["model"]` picks one, else the first, and the last for a tactic.

    tool: offer the text-editor tool instead of a text format. repairs: turns after an edit that cannot be used.
    gate: loads changed modules before they cost an evaluation; None: only parsing and known programs are looked at.
    """

    models: Mapping[str, Model]
    name: str = "model"
    operators: tuple[str, ...] = OPERATORS
    latency: bool = True
    tool: bool = False
    repairs: int = 1
    gate: Smoke | None = None
    _order: tuple[str, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        if not self.models:
            raise UsageError("a model mutator needs a model; see docs/models.md")
        self._order = tuple(self.models)

    def unpriced(self) -> tuple[str, ...]:
        """Names of its models whose price is not known: what they cost cannot be held to a limit of money."""
        return tuple(name for name, model in self.models.items() if model.reserve(b"")[0] is None)

    async def close(self) -> None:
        """Close the connections of its models; the session asks for it once it has ended."""
        for model in self.models.values():
            if (ends := getattr(model, "close", None)) is not None:
                await ends()

    def choose(self, brief: Brief) -> Model:
        wanted = str(brief.hint.get("model", ""))
        if wanted in self.models:
            return self.models[wanted]
        return self.models[self._order[-1 if brief.operator == "tactic" else 0]]

    async def propose(self, brief: Brief, desk: Desk) -> Proposal:
        model = self.choose(brief)
        prompt, form = build(brief, desk, tool=self.tool)
        answer = await complete(model, prompt, desk)
        if brief.operator == "tactic":
            return _tactic(answer, model.name)
        transcript = [answer.text]
        for turn in range(self.repairs + 1):
            used = _used(brief, desk, answer)
            if turn == self.repairs or answer.outcome not in ("ok", "truncated"):
                break
            wrong = await _objection(brief, desk, used, self.gate) if isinstance(used, Proposal) else used
            if wrong is None:
                break
            used = wrong
            prompt = _repair(prompt, answer, used, form)
            answer = await complete(model, prompt, desk)
            transcript.append(answer.text)
        return _finished(brief, used, answer, model.name, transcript)


def _used(brief: Brief, desk: Desk, answer: Answer) -> Proposal | Problem:
    """The proposal in an answer, or what is wrong with it. Gates that cost nothing come before anything is recorded."""
    if answer.outcome not in ("ok", "truncated"):
        return Problem(answer.outcome, answer.why)
    before = desk.files(brief.parents[0])
    got = apply(answer.text, before, calls=[call.input for call in answer.calls], may_edit=desk.task.may_edit)
    if isinstance(got, Rejected):
        if answer.outcome == "truncated":
            return Problem(
                "truncated", "The answer was cut off at its length limit. Make a smaller edit. " + got.for_model
            )
        return Problem(got.reason, got.for_model)
    if problem := unparsable(before, got.files):
        return problem
    kind = f"{brief.operator}/{got.format.value}-{got.tier.name.lower()}"
    parents = brief.parents[:2] if brief.operator in ("combine", "crossover") else ()
    return Proposal(dict(got.files), idea_of(answer.text), kind, parents=tuple(parents))


async def _objection(brief: Brief, desk: Desk, made: Proposal, gate: Smoke | None) -> Problem | None:
    """Why an edit that applies is not worth its evaluation: the program is known, does not load, or behaves as a known one."""
    parent = brief.parents[0]
    after = {path: text for path, text in (dict(desk.files(parent)) | dict(made.files)).items() if text is not None}
    place: GatedDesk = desk  # type: ignore[assignment]
    if problem := duplicate(place.known(after)):
        return problem
    if gate and (problem := await smoke(gate, place.everything(parent)[0], made.files, desk.task)):
        return problem
    return duplicate(await place.behaves_as(made.files), "no different from a known one on the task's probes")


def _repair(prompt: Prompt, answer: Answer, problem: Problem | Proposal, form: str) -> Prompt:
    said = problem.for_model if isinstance(problem, Problem) else ""
    text = render("repair", problem=said, format=form)
    results = {call.id: said for call in answer.calls}
    spoken = answer.text or ("" if answer.calls else "(no text)")
    return Prompt(
        prompt.stable,
        (*prompt.turns, Turn("assistant", spoken, answer.calls), Turn("user", text, results=results)),
        prompt.tool,
    )


def _finished(
    brief: Brief, used: Proposal | Problem, answer: Answer, model: str, transcript: Sequence[str]
) -> Proposal:
    why = bounded("why", "\n\n-----\n\n".join(transcript), WHY_CAP)
    if isinstance(used, Problem):
        first = used.for_model.split("\n")[0][:300]
        return Proposal(
            stillborn=f"{used.reason}: {first}", operator=brief.operator, model=model, why=why.data, artifacts=(why,)
        )
    return Proposal(used.files, used.idea, used.operator, model, used.parents, why=why.data, artifacts=(why,))


_IDEA = re.compile(r"^\W*IDEA\W*[:\-]\W*(.+)$", re.MULTILINE | re.IGNORECASE)


def idea_of(text: str) -> str:
    """The idea in one line: the IDEA line, else the first sentence that is prose."""
    if match := _IDEA.search(text):
        return " ".join(match[1].strip("*` ").split())[:160]
    for line in text.split("\n"):
        plain = line.strip().strip("*#> ")
        if len(plain.split()) >= 4 and not plain.startswith(("```", "~~~", "<<<", "@@", "---", "+++", "diff ")):
            return re.split(r"(?<=[.!?])\s", plain)[0][:160]
    return "edit without a stated idea"


_FAMILY = re.compile(r"^\W*FAMILY\W*:\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)
_HOW = re.compile(r"^\W*HOW\W*:\s*", re.IGNORECASE)


def _tactic(answer: Answer, model: str) -> Proposal:
    """New families instead of an edit: `Proposal.families`."""
    if answer.outcome != "ok":
        return Proposal(stillborn=f"{answer.outcome}: {answer.why[:300]}", operator="tactic", model=model)
    pieces = _FAMILY.split(answer.text)[1:]
    families = tuple(
        Family(" ".join(name.strip("*` ").split())[:80], _HOW.sub("", text.strip()).strip()[:2000])
        for name, text in zip(pieces[::2], pieces[1::2], strict=True)
        if text.strip()
    )
    if not families:
        return Proposal(stillborn="malformed: no line begins with FAMILY:", operator="tactic", model=model)
    return Proposal(idea=f"{len(families)} new families", operator="tactic", model=model, families=families)
