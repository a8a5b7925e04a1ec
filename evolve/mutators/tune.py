"""Numbers handed to a classical optimiser: a study tunes the literals of one program, each trial a candidate of its own.

A study is a parent and a list of knobs, and one of two kinds. A wide one: its first trials are quasi-random (Halton 1960,
rotated as in Cranley and Patterson 1976), then CMA-ES (Hansen 2016; the `cmaes` library) goes on from the best of them. A near
one: a trust-region method goes from the program's own numbers, one trial after the other (mutators/trust.py). The optimiser has no
state of its own: each proposal rebuilds it from the study's trials that the desk shows, whose values are read back
from the candidates' files. So it is a pure function of the lineage, and a resume is a replay. No model is needed.

The search decides when to open a study and how many trials it gets (evolve/studies.py): `plan`, `finished`.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evolve.mutators import Desk, polish, trust
from evolve.mutators.numeric import Number
from evolve.mutators.workpiece import Workpiece
from evolve.population.brief import Brief, Proposal
from evolve.tasks.records import from_json, to_json

if TYPE_CHECKING:
    from cmaes import CMA, SepCMA

KNOBS = 8
"""Most numbers a study tunes unless asked for more (EvoTrace's recipe; docs/search.md)."""

OPENING = 8
"""Quasi-random trials of a study."""

TRIALS = 24
PATIENCE = 8
"""A study ends after so many trials, or after so many without a gain once its opening is over."""

TABLE = 4
"""Rank of a number in a table: the last."""

SPREAD = 4.0
"""A lone positive number is tuned from value / SPREAD to value x SPREAD, on a logarithmic scale."""

ROOM = 20.0
"""A near study's knobs may move so many natural steps each way: far beyond where it will go."""

LIKE = 100.0
"""Numbers whose sizes differ by less than this factor are steps of one size apart in a near study: those of one formula
usually are, and a model's region should be round (measured: docs/search.md)."""

NEAR_TRIALS = 12
"""Trials of a near study that keeps gaining, times its knobs and one more."""

MANY = 16
"""Knobs from which on only the diagonal of the covariance is learnt (Ros and Hansen 2008)."""

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Knob:
    """One literal with its sign: bytes start..end of the parent's file `path`, tuned within low..high.

    bare: a minus may stand there without parentheses.
    """

    path: str
    start: int
    end: int
    value: float
    low: float
    high: float
    integer: bool = False
    log: bool = False
    bare: bool = True

    def at(self, u: float) -> float:
        """The value at u in 0..1."""
        u = min(max(u, 0.0), 1.0)
        if self.log:
            value = math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + u * (self.high - self.low)
        return float(round(value)) if self.integer else value

    def where(self, value: float) -> float:
        """The inverse of `at`, within 0..1."""
        if self.log:
            low, high, value = math.log(self.low), math.log(self.high), math.log(min(max(value, self.low), self.high))
        else:
            low, high = self.low, self.high
        return min(max((value - low) / (high - low), 0.0), 1.0)

    def text(self, value: float) -> bytes:
        text = b"%d" % int(value) if self.integer else _spell(value)
        return text if self.bare or not text.startswith(b"-") else b"(" + text + b")"


def _spell(value: float) -> bytes:
    """12 digits, never looking like a whole number."""
    text = f"{value:.12g}"
    return (text if any(c in text for c in ".en") else text + ".0").encode()


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial that was judged. fitness: None for a candidate without one."""

    number: int
    point: Vector
    fitness: float | None


# ---- what to tune ----------------------------------------------------------------------------------------------------


def plan(
    files: Mapping[str, bytes], most: int = KNOBS, first: int = 0, reach: float = 0.0, tables: bool = True
) -> list[dict[str, object]]:
    """Knobs of a program as plain JSON, for a brief's hint; the most promising `most` in the order of the files.

    first: skip so many of them (a later study takes others; round and round). reach: above 0, a knob's range is its value
    +- reach x its scale (see `numeric.Number`), for a program whose numbers are nearly right already. tables: take
    members of tables too. Named constants come first, then lone floats, then whole numbers, then members of tables. Left alone: 0, 1 and 2 (structure more
    often than size), and numbers that stand in an index.
    """
    ranked: list[tuple[int, str, int, Knob]] = []
    for path in sorted(files):
        piece = Workpiece.of(path, files[path])
        for number in piece.numbers:
            rank = _rank(piece.content, number)
            if rank is not None and (tables or rank < TABLE) and (knob := _knob(path, number, reach)) is not None:
                ranked.append((rank, path, number.start, knob))
    ranked.sort(key=lambda r: r[:3])
    start = first % len(ranked) if len(ranked) > most else 0
    chosen = (ranked[start:] + ranked[:start])[:most]
    return [to_json(knob) for _, _, _, knob in sorted(chosen, key=lambda r: r[1:3])]


def near(files: Mapping[str, bytes], most: int = KNOBS) -> list[dict[str, object]]:
    """Knobs of a near study: separate real numbers, the most promising first, at most `most`. One size of step for all where
    they are of like size, else each its own."""
    ranked = []
    for path in sorted(files):
        piece = Workpiece.of(path, files[path])
        for number in piece.numbers:
            rank = _rank(piece.content, number)
            if rank is not None and rank < TABLE and number.kind == "float" and math.isfinite(number.value):
                ranked.append((rank, path, number.start, number))
    chosen = sorted(sorted(ranked, key=lambda r: r[:3])[:most], key=lambda r: r[1:3])
    sizes = sorted(abs(number.value) for *_, number in chosen if number.value)
    alike = bool(sizes) and sizes[-1] < LIKE * sizes[0]
    out: list[dict[str, object]] = []
    for _, path, start, number in chosen:
        half = ROOM * (sizes[len(sizes) // 2] if alike else number.scale or 1.0)
        value = number.value
        out.append(to_json(Knob(path, start, number.end, value, value - half, value + half, bare=number.signed)))
    return out


_NAMED = re.compile(rb"^[ \t]*[A-Za-z_]\w*[ \t]*(?::[^=\n]+)?=[ \t]*[-(]*$")
_ARGUMENT = re.compile(rb"[(,][ \t]*[A-Za-z_]\w*[ \t]*(?::[^=,\n]+)?=[ \t]*-?$")


def _rank(content: bytes, number: Number) -> int | None:
    """How promising a number is, 0 first; None for one that is left alone."""
    before = content[content.rfind(b"\n", 0, number.start) + 1 : number.start]
    if number.kind == "hex" or (number.kind == "int" and abs(number.value) <= 2):
        return None
    if number.table >= 0:
        return TABLE
    if before.rstrip().endswith(b"["):  # an index
        return None
    if _NAMED.match(before):
        return 0
    if _ARGUMENT.search(before):
        return 1
    return 3 if number.kind == "int" else 2


def structure(files: Mapping[str, bytes]) -> str:
    """Hex digest of a program without its numbers: equal where two differ in numbers alone."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(files):
        piece = Workpiece.of(path, files[path])
        blank = _spliced(piece.content, [(n.start, n.end, b"#") for n in piece.numbers])
        digest.update(path.encode() + b"\0" + blank + b"\0")
    return digest.hexdigest()


def _knob(path: str, number: Number, reach: float) -> Knob | None:
    value, whole = number.value, number.kind == "int"
    if not math.isfinite(value) or abs(value) > 1e15:
        return None
    if reach > 0:
        half = max(reach * (number.scale or 1.0), 2.0 if whole else 0.0)
        low, high, log = value - half, value + half, False
    elif number.table >= 0:
        half = 2 * (number.scale or abs(value) or 1.0)
        low, high, log = value - half, value + half, False
    elif value == 0:
        low, high, log = -1.0, 1.0, False
    elif value < 0:
        low, high, log = value * SPREAD, -value, False
    else:
        low, high, log = value / SPREAD, value * SPREAD, True
    if whole:
        low, high = float(max(math.floor(low), 1 if log else -(10**15))), float(math.ceil(high))
    return Knob(path, number.start, number.end, value, low, high, whole, log, number.signed)


# ---- the study so far ------------------------------------------------------------------------------------------------


def label(study: str, trial: int) -> str:
    """The operator's name of a trial, by which a study finds its own again."""
    return f"tune/{study}#{trial}"


def trials_of(study: str, knobs: Sequence[Knob], parent: str, desk: Desk) -> list[Trial]:
    """Judged trials of a study, by number; values are read from the candidates' files."""
    before = desk.files(parent)
    patterns = {path: _pattern(path, knobs, before[path]) for path in {knob.path for knob in knobs}}
    found = []
    for child in desk.children(parent):
        name, _, number = child.operator.rpartition("#")
        if name != f"tune/{study}" or not number.isdigit() or child.verdict is None:
            continue
        point = _values(knobs, patterns, desk.files(child.commit))
        if point is not None:
            found.append(Trial(int(number), point, child.fitness))
    return sorted(found, key=lambda trial: trial.number)


def _pattern(path: str, knobs: Sequence[Knob], content: bytes) -> re.Pattern[bytes]:
    out, at = [], 0
    for knob in sorted((k for k in knobs if k.path == path), key=lambda k: k.start):
        out += [re.escape(content[at : knob.start]), rb"(\(?-?[0-9.eE+-]+\)?)"]
        at = knob.end
    return re.compile(b"".join([*out, re.escape(content[at:])]), re.DOTALL)


def _values(
    knobs: Sequence[Knob], patterns: Mapping[str, re.Pattern[bytes]], files: Mapping[str, bytes]
) -> Vector | None:
    values: dict[tuple[str, int], float] = {}
    for path, pattern in patterns.items():
        match = pattern.fullmatch(files.get(path, b""))
        if match is None:
            return None
        starts = sorted(knob.start for knob in knobs if knob.path == path)
        values.update(
            {(path, start): float(text.strip(b"()")) for start, text in zip(starts, match.groups(), strict=True)}
        )
    return np.array([knob.where(values[(knob.path, knob.start)]) for knob in knobs])


def patience(knobs: int) -> int:
    """Trials in a row without a gain that end a study: two generations of CMA-ES, and PATIENCE at least."""
    return max(PATIENCE, 2 * (4 + int(3 * math.log(max(knobs, 2)))))


def near_patience(knobs: int) -> int:
    """Trials in a row without a gain that end a near study: all that its first model is made of, and two steps."""
    return 2 * knobs + 3


def finished(
    results: Sequence[float | None], base: float, most: int = TRIALS, opening: int = OPENING, patient: int = PATIENCE
) -> bool:
    """Whether a study is over: `most` results (fitness, None for a trial without), or after the opening `patient` in a
    row without a gain over `base`."""
    if len(results) >= most:
        return True
    best, since = base, 0
    for fitness in results:
        since += 1
        if fitness is not None and fitness > best:
            best, since = fitness, 0
    return len(results) >= opening + patient and since >= patient


# ---- the next point --------------------------------------------------------------------------------------------------


def next_point(
    knobs: Sequence[Knob], trials: Sequence[Trial], number: int, seed: int, base: float | None, quasi: int = OPENING
) -> Vector:
    """Where trial `number` (from 0) of a study is, in 0..1 for each knob, given the trials judged so far.

    seed: of the study. base: the parent's fitness, whose point counts as one more trial. quasi: quasi-random trials.
    """
    if number < quasi:
        return halton(number, len(knobs), seed)
    start = np.array([knob.where(knob.value) for knob in knobs])
    opening = [t for t in trials if t.number < quasi and t.fitness is not None]
    known = [(base, start)] if base is not None else []
    known += [(t.fitness, t.point) for t in opening if t.fitness is not None]
    centre = max(known, key=lambda item: item[0])[1] if known else start
    from cmaes import CMA, SepCMA  # not before a study asks for it: it brings scipy, 60 MB, where that is installed

    width = max(len(knobs), 2)  # CMA-ES needs two dimensions: a lone knob gets an idle one
    mean = np.full(width, 0.5)
    mean[: len(knobs)] = centre
    bounds = np.tile([0.0, 1.0], (width, 1))
    optimiser: CMA | SepCMA = (SepCMA if width >= MANY else CMA)(
        mean=mean, sigma=0.15, bounds=bounds, seed=seed % (1 << 32)
    )
    later = {t.number - quasi: t for t in trials if t.number >= quasi}
    generation, member = divmod(number - quasi, optimiser.population_size)
    for g in range(generation):
        optimiser.tell(_generation(optimiser, later, g, len(knobs)))
        if optimiser.should_stop():
            break
    point = optimiser.ask()
    for _ in range(member):
        point = optimiser.ask()
    return np.asarray(point[: len(knobs)])


def _generation(
    optimiser: CMA | SepCMA, later: Mapping[int, Trial], generation: int, knobs: int
) -> list[tuple[Vector, float]]:
    """One generation's points and losses. A point without a fitness is the worst; one not judged yet is in the middle."""
    size = optimiser.population_size
    asked = [optimiser.ask() for _ in range(size)]
    trials = [later.get(generation * size + k) for k in range(size)]
    losses = sorted(-t.fitness for t in trials if t is not None and t.fitness is not None)
    worst = losses[-1] + max(abs(losses[-1]), 1.0) if losses else 1.0
    middle = losses[len(losses) // 2] if losses else 0.0
    told = []
    for point, trial in zip(asked, trials, strict=True):
        x = np.array(point)
        if trial is None:
            told.append((x, middle))
            continue
        x[:knobs] = trial.point
        told.append((x, worst if trial.fitness is None else -trial.fitness))
    return told


def halton(number: int, dimensions: int, seed: int) -> Vector:
    """Point `number` (from 0) of a Halton sequence, moved round by a random offset of the seed."""
    offset = np.random.default_rng(seed).random(dimensions)
    return np.array(
        [(_radical(number + 1, base) + o) % 1.0 for base, o in zip(_primes(dimensions), offset, strict=True)]
    )


def _radical(number: int, base: int) -> float:
    value, scale = 0.0, 1.0
    while number:
        number, digit = divmod(number, base)
        scale /= base
        value += digit * scale
    return value


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % p for p in found):
            found.append(candidate)
        candidate += 1
    return found


# ---- the mutator -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tune:
    """Answers operator "tune". hint: study (its id), trial (its number from 0), knobs (of `plan`; left out: planned),
    opening (quasi-random trials; left out: OPENING), done (numbers of the trials it may learn from; left out: all), radius
    (of a near study's first region in knob ranges; left out or 0: a wide one), polish (true: one polish with gradients)."""

    name: str = "tune"
    operators: tuple[str, ...] = ("tune",)
    latency: bool = False

    async def propose(self, brief: Brief, desk: Desk) -> Proposal:
        parent = brief.parents[0]
        if brief.hint.get("polish"):
            return await polish.propose(brief, desk, label(str(brief.hint.get("study")), _whole(brief.hint.get("trial"))))
        files = desk.files(parent)
        knobs = knobs_of(brief.hint.get("knobs"), files)
        study, number = str(brief.hint.get("study", parent[:12])), _whole(brief.hint.get("trial"))
        name = label(study, number)
        if not knobs:
            return Proposal(stillborn="the program has no number to tune", operator=name)
        done, quasi = brief.hint.get("done"), _whole(brief.hint.get("opening", OPENING))
        trials = trials_of(study, knobs, parent, desk)
        if isinstance(done, list | tuple):
            trials = [trial for trial in trials if trial.number in done]
        base, radius = desk.candidate(parent).fitness, brief.hint.get("radius")
        if isinstance(radius, float) and radius > 0 and base is not None:
            start = [knob.where(knob.value) for knob in knobs]
            values = {trial.number: trial.fitness for trial in trials}
            found = await asyncio.to_thread(trust.next_point, start, base, values, number, radius)
            if found is None:
                return Proposal(stillborn="the trust region shrank to nothing", operator=name)
            point = found
        else:
            seed = int.from_bytes(study.encode()[-8:].rjust(8, b"\0"), "big") ^ 0x5DEECE66D
            point = next_point(knobs, trials, number, seed, base, quasi)
        changed = edited(files, knobs, point)
        if not changed:
            return Proposal(stillborn="the trial's numbers are the parent's own", operator=name)
        return Proposal(changed, _words(knobs, point, number), name)


def knobs_of(given: object, files: Mapping[str, bytes]) -> list[Knob]:
    """Knobs out of a hint, or planned afresh. Raises ValueError for one that is no literal of the files."""
    found = [from_json(Knob, item) for item in (given if isinstance(given, list | tuple) else plan(files))]
    for knob in found:
        text = files.get(knob.path, b"")[knob.start : knob.end]
        if not re.fullmatch(rb"-?\.?[0-9][\w.+-]*", text):
            raise ValueError(f"knob {knob.path}:{knob.start} is {text!r}, no number of the parent")
    return found


def edited(
    files: Mapping[str, bytes], knobs: Sequence[Knob], point: Sequence[float] | Vector
) -> dict[str, bytes | None]:
    """Files with the knobs at `point`; only those that differ."""
    out: dict[str, bytes | None] = {}
    for path in sorted({knob.path for knob in knobs}):
        edits = [(k.start, k.end, k.text(k.at(float(u)))) for k, u in zip(knobs, point, strict=True) if k.path == path]
        content = _spliced(files[path], edits)
        if content != files[path]:
            out[path] = content
    return out


def _spliced(content: bytes, edits: Sequence[tuple[int, int, bytes]]) -> bytes:
    out, at = [], 0
    for start, end, text in sorted(edits):
        out += [content[at:start], text]
        at = end
    return b"".join([*out, content[at:]])


def _words(knobs: Sequence[Knob], point: Vector, number: int) -> str:
    shown = ", ".join(f"{k.value:g} to {k.at(float(u)):.4g}" for k, u in list(zip(knobs, point, strict=True))[:4])
    return f"tune, trial {number}: {shown}{', ...' if len(knobs) > 4 else ''}"


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
