"""An order for one mutation, and what came back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from evolve.tasks.evidence import Artifact


@dataclass(frozen=True, slots=True)
class Inspiration:
    """Another candidate the mutator may look at, and why it was chosen (becomes an `Inspired-by` trailer)."""

    candidate: str
    why: str


@dataclass(frozen=True, slots=True)
class Brief:
    """An order for one mutation. It is a pure function of the log up to `saw`, so replay rebuilds it byte for byte.

    number:     from 1 within a run, without holes; names the brief in events and trailers.
    task:       name of the task.
    operator:   what is asked: "improve", "explore", "fix", "crossover", "transplant", "simplify", ... (docs/search.md).
    mutator:    name of the mutator it is for.
    parents:    hex commit ids; the first is the one the diff is against, a second makes a merge commit.
    seed:       of the mutator's random stream, derived from (run seed, "mutate", number).
    island:     the subpopulation a child is born into.
    lessons, directives: texts shown to the mutator.
    saw:        log ref -> number of events of it that had been folded when the brief was made.
    hint:       operator-specific plain JSON (an earlier prompt to re-sample, a family to explore, knobs to tune).
    """

    number: int
    task: str
    operator: str
    parents: tuple[str, ...]
    seed: int
    mutator: str = ""
    island: str = "main"
    inspirations: tuple[Inspiration, ...] = ()
    lessons: tuple[str, ...] = ()
    directives: tuple[str, ...] = ()
    saw: Mapping[str, int] = field(default_factory=dict)
    hint: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Family:
    """A named family of approaches, proposed at a plateau: what it is, and what to get right."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a mutator answered.

    files:      repository-relative POSIX path -> whole new content, None to delete. Paths not named stay as in the
                first parent.
    idea:       the idea in one line; becomes the commit's subject.
    operator, model: what made it, for trailers and for credit ("syntactic/constant", a model id, "person").
    parents:    overrides the brief's parents (a crossover that merged); empty: the brief's first.
    inspirations: candidates it drew on beyond those the brief named (a transplant's donor).
    stillborn:  why there is no edit (it did not apply, the mutator gave up); `files` is then empty.
    why:        a longer explanation, kept as an artifact.
    artifacts:  transcripts and the like, already bounded.
    behaviour:  hex digest of what it answers on the task's probes, "" where it has none; the run fills it in.
    families:   what operator "tactic" answers instead of an edit; `files` is then empty.
    """

    files: Mapping[str, bytes | None] = field(default_factory=dict)
    idea: str = ""
    operator: str = ""
    model: str = ""
    parents: tuple[str, ...] = ()
    stillborn: str = ""
    why: str = ""
    artifacts: tuple[Artifact, ...] = ()
    families: tuple[Family, ...] = ()
    inspirations: tuple[Inspiration, ...] = ()
    behaviour: str = ""
