"""A task: what may change, how a version is scored, which way is better, what it may cost.

`Task.load` reads `task.toml` (a bundled task) or `evolve.toml` / `[tool.evolve]` (a user's repository): one schema.
An unknown key is an error that names the nearest known one; nothing is dropped silently.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from evolve.tasks.errors import TaskError

Goal = Literal["min", "max"]

_DURATION = re.compile(r"^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?$")
_SECONDS = {"ms": 1e-3, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"^(\d+(?:\.\d+)?)\s*([kKMGT]?)(i?B?)$")
_BYTES = {"": 1, "k": 1 << 10, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_CONSTRAINT = re.compile(r"^\s*([A-Za-z_][\w.]*)\s*(<=|>=|<|>|==)\s*(\S+)\s*$")
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")

SIZE, DIFFERENCE = "code_size", "code_difference"
"""Descriptors that every candidate has: bytes of its editable files, and how far they are from the seed's (0..1)."""


def duration(value: str | float, where: str = "duration") -> float:
    """Seconds of `"2m"`, `"1.5h"`, `"300"`, `300`. Raises TaskError on anything else."""
    match = _DURATION.match(str(value).strip())
    if not match:
        raise TaskError(f"{where}: {value!r} is no duration; write a number with ms, s, m, h or d, such as '2m'")
    return float(match[1]) * _SECONDS[match[2]]


def size(value: str | int, where: str = "size") -> int:
    """Bytes of `"64G"`, `"512M"`, `4096` (powers of 1024). Raises TaskError on anything else."""
    match = _SIZE.match(str(value).strip())
    if not match:
        raise TaskError(f"{where}: {value!r} is no size; write a number with K, M, G or T, such as '2G'")
    return int(float(match[1]) * _BYTES[match[2]])


@dataclass(frozen=True, slots=True)
class Metric:
    """A raw measured quantity.

    pattern: regular expression with one group, searched line by line in the command's stdout; the last match counts.
             A metric taken so comes from the candidate's own output and is labelled self-reported everywhere.
    """

    name: str
    goal: Goal = "max"
    unit: str = ""
    pattern: str | None = None

    @property
    def sign(self) -> float:
        """+1 where more is better, -1 where less is: fitness = sign x metric."""
        return 1.0 if self.goal == "max" else -1.0


@dataclass(frozen=True, slots=True)
class Constraint:
    """`metric op bound`; a candidate that breaks it is INVALID."""

    metric: str
    op: Literal["<=", ">=", "<", ">", "=="]
    bound: float

    @classmethod
    def parse(cls, text: str, where: str = "constraint") -> Constraint:
        match = _CONSTRAINT.match(text)
        try:
            bound = float(match[3]) if match else math.nan
        except ValueError:
            bound = math.nan
        if not match or math.isnan(bound):
            raise TaskError(f"{where}: {text!r} is no constraint; write it as 'peak_vram_mb <= 80000'")
        return cls(match[1], match[2], bound)  # type: ignore[arg-type]

    def holds(self, value: float) -> bool:
        return {
            "<=": value <= self.bound,
            ">=": value >= self.bound,
            "<": value < self.bound,
            ">": value > self.bound,
            "==": value == self.bound,
        }[self.op]

    def __str__(self) -> str:
        return f"{self.metric} {self.op} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Environment:
    """What a candidate finds around it.

    setup:   shell command run once per base in the base's tree, cached; what it leaves is in every candidate's tree.
    data:    `path[:ro]`, mounted read-only at the same path.
    network: `host` (its ports 80 and 443) or `host:port` that a candidate may reach; `*` alone: everything; empty: none.
    """

    setup: str | None = None
    data: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    network: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Repeats:
    """Samples taken at the first verdict, and afresh (alternating with the champion) in the champion gate."""

    screen: int = 1
    confirm: int = 3


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a version is scored.

    evaluator: "command" (metrics from the candidate's stdout or its JSON file: self-reported), "script" (an
               `evaluate.py` that runs outside the candidate's process) or the name of a registered evaluator.
    settings:  evaluator-specific keys (`[evaluate.settings]`).
    timeout:   seconds of wall time for one sample, from the candidate's start.
    descriptors: axes of the map of what was found, by default `SIZE` and `DIFFERENCE`: those or metrics, two at most.
    """

    evaluator: str = "command"
    command: str | None = None
    script: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    gates: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ()
    metrics_file: str | None = None
    objective: tuple[str, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    repeats: Repeats = field(default_factory=Repeats)
    timeout: float = 600.0
    gpus: int = 0
    descriptors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on a candidate's whole process tree; bytes, counts, seconds."""

    memory: int = 2 << 30
    processes: int = 128
    disk: int = 1 << 30
    inodes: int = 100_000
    output: int = 1 << 20
    files: int = 1024
    cpu: float | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """The fixed question. `root` is the folder its file was read from; it is no part of the digest."""

    name: str
    editable: tuple[str, ...]
    evaluate: Evaluation
    context: tuple[str, ...] = ()
    instructions: str | None = None
    environment: Environment = field(default_factory=Environment)
    limits: Limits = field(default_factory=Limits)
    root: Path = field(default=Path("."), compare=False)
    source: str = field(default="", compare=False, repr=False)

    # ---- reading -------------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, path: str | Path) -> Task:
        """Read a `task.toml`, `evolve.toml`, a `pyproject.toml` with `[tool.evolve]`, or a folder holding one.

        Raises TaskError where there is none, it is no TOML, or it cannot be what was meant.
        """
        path = Path(path)
        if path.is_dir():
            for name in ("evolve.toml", "task.toml", "pyproject.toml"):
                if (path / name).is_file():
                    path = path / name
                    break
            else:
                raise TaskError(f"{path} holds no evolve.toml; 'evolve init' writes one")
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TaskError(f"cannot read {path}: {error}") from error
        return cls.parse(text, where=str(path), root=path.parent.resolve())

    @classmethod
    def parse(cls, text: str, where: str = "evolve.toml", root: Path | None = None) -> Task:
        """A task from TOML text. Raises TaskError, naming `where`, the key and the nearest known key."""
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise TaskError(f"{where} is no valid TOML: {error}") from error
        if "tool" in document and "task" not in document:
            document = document["tool"].get("evolve", {})
            if not document:
                raise TaskError(f"{where} has no [tool.evolve] table; 'evolve init' writes an evolve.toml")
        return _read(document, where, root or Path("."), text)

    # ---- what it says --------------------------------------------------------------------------------------------

    def metric(self, name: str) -> Metric:
        for metric in self.evaluate.metrics:
            if metric.name == name:
                return metric
        raise TaskError(
            f"task {self.name!r} has no metric {name!r}; {_nearest(name, [m.name for m in self.evaluate.metrics])}"
        )

    @property
    def objectives(self) -> tuple[Metric, ...]:
        """The metrics that make the fitness, the first of them the one a single-objective search climbs."""
        return tuple(self.metric(name) for name in self.evaluate.objective)

    @property
    def self_reported(self) -> bool:
        """True where the numbers come out of the candidate's own mouth."""
        return self.evaluate.evaluator == "command"

    def may_edit(self, path: str) -> bool:
        """Whether a mutation may change `path` (POSIX, relative). Every other path is protected."""
        return any(_matches(path, pattern) for pattern in self.editable)

    def digest(self, protected_tree: str = "") -> str:
        """Hex sha256 over what affects a score: editable, environment, evaluate, limits, the protected tree.

        Instructions, context, names, budgets and descriptors are left out: they do not change what a version is worth.
        """
        evaluate = asdict(self.evaluate)
        del evaluate["descriptors"]
        facts = {
            "editable": self.editable,
            "environment": asdict(self.environment),
            "evaluate": evaluate,
            "limits": asdict(self.limits),
            "protected": protected_tree,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


# ---- the schema ------------------------------------------------------------------------------------------------------

_SCHEMA: dict[str, tuple[str, ...]] = {
    "": ("task", "environment", "evaluate", "limits"),
    "task": ("name", "editable", "context", "instructions"),
    "environment": ("setup", "data", "env", "network"),
    "evaluate": (
        "evaluator",
        "command",
        "script",
        "settings",
        "gates",
        "metrics",
        "metrics_file",
        "objective",
        "constraints",
        "repeats",
        "timeout",
        "gpus",
        "descriptors",
    ),
    "limits": ("memory", "processes", "disk", "inodes", "output", "files", "cpu"),
    "evaluate.metrics": ("name", "goal", "unit", "pattern"),
    "evaluate.repeats": ("screen", "confirm"),
}


def _nearest(key: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known) or 'none'}"


def _table(document: Mapping[str, Any], section: str, where: str) -> Mapping[str, Any]:
    table = document if section == "" else document.get(section.rpartition(".")[2], {})
    if not isinstance(table, Mapping):
        raise TaskError(f"{where}: [{section}] must be a table, not {type(table).__name__}")
    for key in table:
        if key not in _SCHEMA[section]:
            place = f"[{section}] " if section else ""
            raise TaskError(f"{where}: unknown key {place}{key!r}; {_nearest(key, _SCHEMA[section])}")
    return table


def _strings(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise TaskError(f"{where} must be a string or a list of strings, not {value!r}")


def _text(value: Any, where: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise TaskError(f"{where} must be a string, not {value!r}")


def _count(value: Any, where: str, least: int = 0) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise TaskError(f"{where} must be a whole number of at least {least}, not {value!r}")


def _read(document: Mapping[str, Any], where: str, root: Path, text: str) -> Task:
    _table(document, "", where)
    task = _table(document, "task", where)
    name = task.get("name", root.resolve().name)
    if not isinstance(name, str) or not _NAME.match(name):
        raise TaskError(f"{where}: task.name {name!r} must be letters, digits, '_', '.' or '-', at most 64")
    editable = _strings(task.get("editable", []), f"{where}: task.editable")
    if not editable:
        raise TaskError(
            f"{where}: task.editable names no file; say which files may change, such as editable = ['train.py']"
        )
    for pattern in editable:
        if PurePosixPath(pattern).is_absolute() or ".." in PurePosixPath(pattern).parts:
            raise TaskError(f"{where}: task.editable {pattern!r} must be relative to the repository, without '..'")
    evaluate = _read_evaluate(_table(document, "evaluate", where), where)
    return Task(
        name=name,
        editable=editable,
        evaluate=evaluate,
        context=_strings(task.get("context", []), f"{where}: task.context"),
        instructions=_text(task.get("instructions"), f"{where}: task.instructions"),
        environment=_read_environment(_table(document, "environment", where), where),
        limits=_read_limits(_table(document, "limits", where), where),
        root=root,
        source=text,
    )


def _read_environment(table: Mapping[str, Any], where: str) -> Environment:
    env = table.get("env", {})
    if not isinstance(env, Mapping) or not all(isinstance(v, str | int | float) for v in env.values()):
        raise TaskError(f"{where}: environment.env must be a table of strings, not {env!r}")
    return Environment(
        setup=_text(table.get("setup"), f"{where}: environment.setup"),
        data=_strings(table.get("data", []), f"{where}: environment.data"),
        env={str(k): str(v) for k, v in env.items()},
        network=_read_network(_strings(table.get("network", []), f"{where}: environment.network"), where),
    )


def _read_network(entries: tuple[str, ...], where: str) -> tuple[str, ...]:
    if ANYWHERE in entries and len(entries) > 1:
        raise TaskError(f"{where}: environment.network: '*' opens the network whole, so nothing may stand beside it")
    for entry in entries:
        if entry != ANYWHERE:
            try:
                host_ports(entry)
            except ValueError as error:
                raise TaskError(f"{where}: environment.network: {error}") from error
    return entries


ANYWHERE = "*"
"""In `environment.network`: the machine's network whole."""

_HOST = re.compile(r"(?:\[(?P<six>[0-9a-f:.]+)\]|(?P<name>[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?))(?::(?P<port>[0-9]{1,5}))?")


def host_ports(entry: str) -> tuple[str, tuple[int, ...]]:
    """Host and ports of an entry of `environment.network`: "pypi.org", "localhost:8000", "[::1]:80". Raises ValueError."""
    found = _HOST.fullmatch(entry.lower())
    port = int(found["port"]) if found and found["port"] else None
    if found is None or (port is not None and not 0 < port < 1 << 16):
        raise ValueError(f"{entry!r} must be host, host:port or [IPv6]:port; such as 'pypi.org' or 'localhost:8000'")
    return found["six"] or found["name"], (80, 443) if port is None else (port,)


def _read_limits(table: Mapping[str, Any], where: str) -> Limits:
    defaults = Limits()
    return Limits(
        memory=size(table.get("memory", defaults.memory), f"{where}: limits.memory"),
        processes=_count(table.get("processes", defaults.processes), f"{where}: limits.processes", 1),
        disk=size(table.get("disk", defaults.disk), f"{where}: limits.disk"),
        inodes=_count(table.get("inodes", defaults.inodes), f"{where}: limits.inodes", 1),
        output=size(table.get("output", defaults.output), f"{where}: limits.output"),
        files=_count(table.get("files", defaults.files), f"{where}: limits.files", 8),
        cpu=duration(table["cpu"], f"{where}: limits.cpu") if "cpu" in table else None,
    )


def _read_metric(item: Any, where: str) -> Metric:
    if not isinstance(item, Mapping):
        raise TaskError(
            f"{where}: each of evaluate.metrics must be a table such as {{ name = 'seconds', goal = 'min' }}"
        )
    for key in item:
        if key not in _SCHEMA["evaluate.metrics"]:
            raise TaskError(
                f"{where}: unknown key {key!r} in evaluate.metrics; {_nearest(key, _SCHEMA['evaluate.metrics'])}"
            )
    name, goal, pattern = item.get("name"), item.get("goal", "max"), item.get("pattern")
    if not isinstance(name, str) or not re.match(r"^[A-Za-z_][\w.]*$", name):
        raise TaskError(f"{where}: evaluate.metrics: name {name!r} must be an identifier")
    if goal not in ("min", "max"):
        raise TaskError(f"{where}: metric {name!r}: goal {goal!r} must be 'min' or 'max'")
    if pattern is not None:
        try:
            groups = re.compile(pattern).groups
        except (re.error, TypeError) as error:
            raise TaskError(
                f"{where}: metric {name!r}: pattern {pattern!r} is no regular expression: {error}"
            ) from error
        if groups != 1:
            raise TaskError(f"{where}: metric {name!r}: pattern {pattern!r} must have one group, it has {groups}")
    return Metric(name=name, goal=goal, unit=str(item.get("unit", "")), pattern=pattern)


def _read_evaluate(table: Mapping[str, Any], where: str) -> Evaluation:
    command, script = table.get("command"), table.get("script")
    evaluator = table.get("evaluator", "script" if script else "command")
    if evaluator == "command" and not command:
        raise TaskError(
            f"{where}: [evaluate] needs a command, a script or an evaluator; such as command = 'python train.py'"
        )
    if evaluator == "script" and not script:
        raise TaskError(f"{where}: [evaluate] evaluator 'script' needs script = 'evaluate.py'")
    metrics = tuple(_read_metric(item, where) for item in table.get("metrics", []))
    if not metrics:
        raise TaskError(
            f"{where}: [evaluate] names no metric; such as metrics = [{{ name = 'seconds', goal = 'min' }}]"
        )
    names = [metric.name for metric in metrics]
    if len(set(names)) != len(names):
        raise TaskError(f"{where}: evaluate.metrics names {max(names, key=names.count)!r} twice")
    metrics_file = table.get("metrics_file")
    if evaluator == "command" and not metrics_file:
        for metric in metrics:
            if metric.pattern is None:
                raise TaskError(f"{where}: metric {metric.name!r} needs a pattern, or [evaluate] a metrics_file (JSON)")
    objective = _strings(table.get("objective", [names[0]]), f"{where}: evaluate.objective")
    constraints = tuple(
        Constraint.parse(text, f"{where}: evaluate.constraints")
        for text in _strings(table.get("constraints", []), f"{where}: evaluate.constraints")
    )
    for used in [*objective, *(c.metric for c in constraints)]:
        if used not in names:
            raise TaskError(f"{where}: {used!r} is no metric of this task; {_nearest(used, names)}")
    repeats = table.get("repeats", {})
    if not isinstance(repeats, Mapping) or set(repeats) - {"screen", "confirm"}:
        raise TaskError(f"{where}: evaluate.repeats must be {{ screen = 1, confirm = 5 }}, not {repeats!r}")
    settings = table.get("settings", {})
    if not isinstance(settings, Mapping):
        raise TaskError(f"{where}: evaluate.settings must be a table, not {settings!r}")
    return Evaluation(
        evaluator=str(evaluator),
        command=_text(command, f"{where}: evaluate.command"),
        script=_text(script, f"{where}: evaluate.script"),
        settings=dict(settings),
        gates=_strings(table.get("gates", []), f"{where}: evaluate.gates"),
        metrics=metrics,
        metrics_file=_text(metrics_file, f"{where}: evaluate.metrics_file"),
        objective=objective,
        constraints=constraints,
        repeats=Repeats(
            screen=_count(repeats.get("screen", 1), f"{where}: evaluate.repeats.screen", 1),
            confirm=_count(repeats.get("confirm", 3), f"{where}: evaluate.repeats.confirm", 1),
        ),
        timeout=duration(table.get("timeout", 600.0), f"{where}: evaluate.timeout"),
        gpus=_count(table.get("gpus", 0), f"{where}: evaluate.gpus"),
        descriptors=_read_descriptors(table, names, where),
    )


def _read_descriptors(table: Mapping[str, Any], metrics: Iterable[str], where: str) -> tuple[str, ...]:
    where = f"{where}: evaluate.descriptors"
    found, known = _strings(table.get("descriptors", []), where), (SIZE, DIFFERENCE, *metrics)
    for used in found:
        if used not in known:
            raise TaskError(f"{where}: {used!r} is no descriptor of this task; {_nearest(used, known)}")
    if len(set(found)) != len(found) or len(found) > 2:
        raise TaskError(f"{where} must be at most two different ones, not {list(found)}")
    return found


def _matches(path: str, pattern: str) -> bool:
    """Glob with `**` over whole path segments; a pattern that names a folder takes what is below it."""
    return bool(_glob(pattern).match(path))


def _glob(pattern: str) -> re.Pattern[str]:
    out = ""
    i = 0
    while i < len(pattern):
        if pattern.startswith("**/", i):
            out, i = out + "(?:[^/]+/)*", i + 3
        elif pattern.startswith("**", i):
            out, i = out + ".*", i + 2
        elif pattern[i] == "*":
            out, i = out + "[^/]*", i + 1
        elif pattern[i] == "?":
            out, i = out + "[^/]", i + 1
        else:
            out, i = out + re.escape(pattern[i]), i + 1
    return re.compile(out.rstrip("/") + r"(?:/.*)?\Z")
