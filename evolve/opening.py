"""Opening a run: from what the user typed to a base commit, an archive, a task that is fixed, and an epoch."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import git
import tomlkit

import evolve as package
from evolve import evaluators, rescore
from evolve.errors import RepositoryError, TaskError, UsageError
from evolve.evaluators.evaluator import Evaluator, Site, Stage
from evolve.population import events as ev
from evolve.population import place
from evolve.population.archive import Archive
from evolve.population.folds import RunState
from evolve.population.git import Store
from evolve.population.novelty import shape, sketch
from evolve.population.policy import Policy
from evolve.population.refs import check_name
from evolve.population.writer import Writer
from evolve.search import Ground
from evolve.settings import RunSettings
from evolve.tasks import bundled
from evolve.tasks.task import Task


@dataclass(slots=True)
class Opened:
    """A run ready to be searched."""

    settings: RunSettings
    archive: Archive
    writer: Writer
    state: RunState
    run: str
    grounds: dict[str, Ground]
    sites: dict[str, Site]
    evaluators: dict[str, Evaluator]
    resumed: bool
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a task comes from. `repository` is None for a bundled task, whose `seed` folder holds the base."""

    task: Task
    repository: git.Repo | None
    bundled: str = ""
    seed: Path | None = None


def repository_around(where: Path) -> git.Repo | None:
    """The user's repository around a folder; None where there is none or it is bare."""
    with contextlib.suppress(git.InvalidGitRepositoryError, git.NoSuchPathError):
        repository = git.Repo(where, search_parent_directories=True)
        return None if repository.bare else repository
    return None


def open_run(settings: RunSettings) -> Opened:
    """Open or resume the run that `settings` names, holding its lock.

    Raises TaskError (the task file), RepositoryError (the repository's state, a run already going, a changed task),
    UsageError (an unknown name), InfrastructureError (the sandbox).
    """
    sources = [member for name in settings.tasks or ("",) for member in _members(_source(name, settings), settings)]
    names = [source.task.name for source in sources]
    if len(set(names)) != len(names):
        raise UsageError(f"two tasks are called {max(names, key=names.count)!r}; a run's tasks need different names")
    one = settings.tasks[0] if _is_one(settings) else names[0]
    archive = Archive.open(settings.where, create=True, task=one if sources[0].repository is None else "")
    run = settings.name or (one if len(names) == 1 or _is_one(settings) else "suite")
    warnings: list[str] = []
    if settings.start:
        run, warnings = _run_from(sources, settings, archive, run)
    for name in names if len(names) > 1 else ():
        check_name(name, "task name")  # each becomes a folder of branches
    if settings.publish:
        archive.check_room(run, settings.prefix)
    writer = archive.writer(run, exclusive=True, fixed_dates=settings.fixed_dates)
    try:
        return _open(settings, sources, archive, writer, run, warnings)
    except BaseException:
        writer.close()
        raise


def _open(
    settings: RunSettings, sources: list[Source], archive: Archive, writer: Writer, run: str, warnings: list[str]
) -> Opened:
    state = archive.state(run)
    resumed = state.lineage.opened is not None
    if not resumed:
        _begin(settings, sources, archive, writer, state, run, warnings)
    opened = state.lineage.opened
    assert opened is not None
    if resumed:
        _report_policy(settings, opened, warnings)
    grounds, sites, graders = {}, {}, {}
    for source in sources:
        name = source.task.name
        if name not in opened.tasks:
            known = ", ".join(opened.tasks)
            raise RepositoryError(f"run {run!r} has no task {name!r} (it has {known}); give another --name")
        record = opened.tasks[name]
        if resumed and settings.rescore:
            record = _as_it_is_now(source, record, archive, writer)
        ground, site, grader = _ground(source, archive, state, record, run, settings)
        grounds[name], sites[name], graders[name] = ground, site, grader
        if settings.rescore and name in state.lineage.epochs and state.lineage.epochs[name].epoch != ground.epoch:
            warnings.append(rescore.begin(ground, record, archive, writer, state))
        _epoch(ground, writer, state, run)
        if resumed:
            _report_moved_head(source, opened.tasks[name], archive, warnings)
    for name, ground in grounds.items():
        if name not in state.lineage.seeds:
            _import_seed(ground, archive.store, writer, state)
    _limits(settings, writer, state)
    settings = _workers(settings, sources, warnings)
    return Opened(settings, archive, writer, state, run, grounds, sites, graders, resumed, warnings)


def _run_from(sources: list[Source], settings: RunSettings, archive: Archive, name: str) -> tuple[str, list[str]]:
    """The run that starts from `--from`, and what to say about it: a run keeps its base, so another base is another run.

    Of the name and its numbered successors (`toy`, `toy-2`, ...) the one that has this base, else the first that is free.
    Raises RepositoryError where the user named the run and it has another base.
    """
    wanted = [_wanted(source, settings, archive) for source in sources]
    runs = archive.runs()
    for number in itertools.count(1):
        run = name if number == 1 else f"{name}-{number}"
        if run not in runs:
            said = f"run {name!r} keeps its own base; from {settings.start} starts run {run!r}"
            return run, [said] if number > 1 else []
        opened = archive.state(run).lineage.opened
        bases = [opened.tasks[s.task.name].base if opened and s.task.name in opened.tasks else "" for s in sources]
        if opened is None or bases == wanted:
            return run, []
        if settings.name:
            raise RepositoryError(
                f"run {run!r} keeps its base {bases[0][:12]}; give --from {settings.start} another --name, or none"
            )
    raise AssertionError("unreachable")


# ---- where a task comes from -----------------------------------------------------------------------------------------


def _source(name: str, settings: RunSettings) -> Source:
    path = settings.where / name if name else settings.where
    repository = repository_around(settings.where)
    if name and (folder := bundled.find(name)) is not None and not path.exists():
        return Source(_override(Task.load(folder), settings.overrides), None, bundled=name, seed=folder / "seed")
    if name and not path.exists():
        raise UsageError(f"no task {name!r}: neither a bundled task nor a path; {bundled.nearest(name)}")
    if not name and repository is not None and not (path / "evolve.toml").exists():
        path = Path(repository.working_dir)
    task = _override(Task.load(path), settings.overrides)
    if (task.root / "seed").is_dir() and (task.root / "task.toml").is_file():
        return Source(task, None, bundled=str(task.root), seed=task.root / "seed")
    if repository is None:
        raise RepositoryError(
            f"{task.root} is in no git repository; 'git init' and commit first, or run a bundled task ('evolve tasks')"
        )
    return Source(task, repository)


def _is_one(settings: RunSettings) -> bool:
    """One bundled task over many problems gives the run its own name."""
    return settings.every and len(settings.tasks) == 1 and bundled.find(settings.tasks[0]) is not None


def _members(source: Source, settings: RunSettings) -> list[Source]:
    """With `--all` one source for each problem that the task stands for; else the source itself."""
    if not settings.every:
        return [source]
    return [
        replace(source, task=_override(source.task, overrides)) for _, overrides in evaluators.members(source.task)
    ]


def _workers(settings: RunSettings, sources: list[Source], warnings: list[str]) -> RunSettings:
    """No more evaluations at a time than there are cards for: a slot without a card could only wait for one."""
    need = max(source.task.evaluate.gpus for source in sources)
    found = evaluators.machine()["gpus"]
    cards = len(found) if isinstance(found, list | tuple) else 0
    most = cards // need if need else 0
    if not most or settings.workers <= most:
        return settings
    warnings.append(f"{most} evaluation{'s' if most > 1 else ''} at a time: each needs {need} of {cards} GPU(s)")
    return replace(settings, workers=most)


def _override(task: Task, overrides: Mapping[str, str]) -> Task:
    """The task with `--set` keys applied to its text, so that the run stores what it really used."""
    if not overrides:
        return task
    document = tomlkit.parse(task.source)
    for key, value in overrides.items():
        *tables, last = key.split(".")
        table: Any = document
        for part in tables:
            table = table.setdefault(part, tomlkit.table())
        table[last] = _value(value)
    return Task.parse(tomlkit.dumps(document), where="--set", root=task.root)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


# ---- a new run -------------------------------------------------------------------------------------------------------


def _begin(
    settings: RunSettings, sources: list[Source], archive: Archive, writer: Writer, state: RunState, run: str,
    warnings: list[str],
) -> None:  # fmt: skip
    tasks = {}
    for source in sources:
        base = _base(source, settings, archive, writer, warnings)
        _check_editable(source.task, archive.store, base)
        digest = source.task.digest(protected_digest(archive.store, base, source.task))
        tasks[source.task.name] = ev.TaskOpened(base, source.task.source, digest, source.bundled)
    seed = settings.seed if settings.seed is not None else secrets.randbits(32)
    event = ev.RunOpened(
        run, tasks, seed, package.__version__, mutator=",".join(settings.mutators), selector=settings.selector,
        settings={"policy": Policy.of(settings.policy).record(), "embedder": settings.embedder},
    )  # fmt: skip
    state.apply(writer.append(event))


def _base(source: Source, settings: RunSettings, archive: Archive, writer: Writer, warnings: list[str]) -> str:
    """The commit a run starts from, in the archive."""
    store = archive.store
    if source.seed is not None and settings.start is None:
        files: dict[str, bytes | None] = {
            path.relative_to(source.seed).as_posix(): path.read_bytes()
            for path in sorted(source.seed.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }
        files |= {path: text.encode() for path, text in evaluators.seed(source.task).items()}
        tree = store.edit(store.tree({}), files)
        return store.commit(tree, (), f"Seed of {source.task.name}\n", writer.now())
    commit = _wanted(source, settings, archive)
    if source.repository is None or (settings.start and place.resolve(archive.path, settings.start) == commit):
        return commit  # a candidate of the archive
    _check_clean(source.task, source.repository, warnings)
    return archive.import_commit(str(source.repository.git_dir), commit)


def _wanted(source: Source, settings: RunSettings, archive: Archive) -> str:
    """The full id of the commit to start from, in the archive or in the user's repository; "" for a bundled seed."""
    if settings.start and (known := place.resolve(archive.path, settings.start)):
        return known
    if source.repository is None:
        if settings.start:
            raise RepositoryError(f"--from {settings.start}: no such candidate in {archive.path}; 'evolve log' lists them")
        return ""
    try:
        return str(source.repository.commit(settings.start or "HEAD").hexsha)
    except (git.BadName, ValueError, git.GitCommandError) as error:
        if settings.start:
            raise RepositoryError(f"--from {settings.start}: no such commit here or in the archive") from error
        raise RepositoryError(
            "the repository has no commit yet; commit the code that is to be evolved first"
        ) from error


def _check_clean(task: Task, repository: git.Repo, warnings: list[str]) -> None:
    changed = repository.git.status("--porcelain", "--untracked-files=no").splitlines()
    paths = [line[3:].split(" -> ")[-1].strip('"') for line in changed]
    if dirty := [path for path in paths if task.may_edit(path)]:
        raise RepositoryError(
            f"{dirty[0]} is editable and has uncommitted changes; commit or stash it, so that the run starts from what you see"
        )
    if paths:
        warnings.append(
            f"uncommitted changes in {paths[0]}{' and more' if len(paths) > 1 else ''}: the run starts from HEAD"
        )


def _check_editable(task: Task, store: Store, base: str) -> None:
    paths = [entry.path for entry in store.entries(store.tree_of(base))]
    for pattern in task.editable:
        if not any(replace(task, editable=(pattern,)).may_edit(path) for path in paths):
            raise TaskError(
                f"task.editable {pattern!r} matches no file of the base commit {base[:12]}; it has {_some(paths)}"
            )


def _some(paths: list[str]) -> str:
    return ", ".join(paths[:5]) + (", ..." if len(paths) > 5 else "")


def protected_digest(store: Store, commit: str, task: Task) -> str:
    """Hex sha256 over (path, mode, id) of every file a mutation may not change."""
    rows = [(e.path, e.mode, e.oid) for e in store.entries(store.tree_of(commit)) if not task.may_edit(e.path)]
    return hashlib.sha256(json.dumps(sorted(rows)).encode()).hexdigest()


def _import_seed(ground: Ground, store: Store, writer: Writer, state: RunState) -> None:
    files = store.files(ground.base_tree, ground.task.may_edit)
    event = ev.Imported(
        ground.task.name, ground.base, ground.base_tree, store.parents_of(ground.base), state.pending.next_number,
        source="seed", idea="seed", shape=shape(files), sketch=sketch(files),
    )  # fmt: skip
    state.apply(writer.append(event))


# ---- grounds, epochs, limits -----------------------------------------------------------------------------------------


def _ground(
    source: Source, archive: Archive, state: RunState, opened: ev.TaskOpened, run: str, settings: RunSettings
) -> tuple[Ground, Site, Evaluator]:
    store = archive.store
    around = opened.around or opened.base
    tree = store.tree_of(around)
    digest = source.task.digest(protected_digest(store, around, source.task))
    if digest != opened.digest:
        raise rescore.refusal("editable, environment, evaluate or limits", source.task.name, run)
    root = source.task.root
    if source.repository is not None and source.task.evaluate.script:
        root = _export(archive, run, source.task.name, store, tree)
    task = replace(source.task, root=root)
    scratch = archive.home / "scratch" / run / source.task.name
    scratch.mkdir(parents=True, exist_ok=True)
    site = Site(
        task=task, archive=str(archive.path), base=tree, task_digest=digest, evaluator="",
        machine=evaluators.machine_fingerprint(), scratch=str(scratch), unsafe=settings.unsafe,
    )  # fmt: skip
    grader = evaluators.load(site)
    site = replace(site, evaluator=grader.digest())
    epoch = hashlib.sha256(f"{digest}/{site.evaluator}/{evaluators.hardware_class()}".encode()).hexdigest()[:16]
    ground = Ground(task, opened.base, store.tree_of(opened.base), tuple(grader.stages()), epoch, digest, site.evaluator)
    return ground, site, grader


def _as_it_is_now(source: Source, record: ev.TaskOpened, archive: Archive, writer: Writer) -> ev.TaskOpened:
    """A task of a run with the task file and the protected files of today."""
    around = rescore.surroundings(source.task, source.repository, record, archive, writer)
    digest = source.task.digest(protected_digest(archive.store, around, source.task))
    return replace(record, source=source.task.source, digest=digest, around="" if around == record.base else around)


def site_of(archive: Archive, state: RunState, name: str) -> tuple[Task, Site, tuple[Stage, ...]]:
    """The task of a run as it was opened, with a site to judge a commit on this machine. For use without a session.

    Raises RepositoryError where the grader of that time cannot be had any more.
    """
    opened = state.lineage.opened
    if opened is None or name not in opened.tasks:
        raise UsageError(f"run {state.run!r} has no task {name!r}")
    record = opened.tasks[name]
    folder = bundled.find(record.bundled) or (Path(record.bundled) if record.bundled else None)
    task = Task.parse(record.source, where=f"task {name}", root=folder)
    source = Source(task, None, bundled=record.bundled, seed=folder)
    if folder is None and task.evaluate.script:
        tree = archive.store.tree_of(record.around or record.base)
        task = replace(task, root=_export(archive, state.run, name, archive.store, tree))
        source = Source(task, None)
    ground, site, _ = _ground(source, archive, state, record, state.run, RunSettings())
    return ground.task, site, ground.stages


def _export(archive: Archive, run: str, task: str, store: Store, tree: str) -> Path:
    """The base's regular files in a folder of the run, where its `evaluate.py` runs: later edits by the user or by a
    candidate never reach the grader."""
    root = archive.home / "graders" / run / task / tree[:16]
    if not root.is_dir():
        partial = root.with_name(root.name + f".{os.getpid()}")
        for entry in store.entries(tree):
            if entry.regular:
                target = partial / entry.path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(store.read(entry.oid))
        partial.rename(root)
    return root


def _epoch(ground: Ground, writer: Writer, state: RunState, run: str) -> None:
    known = state.lineage.epochs.get(ground.task.name)
    hardware = evaluators.hardware_class()
    if known is None:
        event = ev.EpochOpened(ground.task.name, ground.epoch, ground.task_digest, ground.evaluator, hardware)
        state.apply(writer.append(event))
    elif known.epoch != ground.epoch:
        what = "the hardware" if known.hardware != hardware else "the evaluator"
        raise rescore.refusal(what, ground.task.name, run, f" ({known.hardware} then, {hardware} now)")


def _report_moved_head(source: Source, opened: ev.TaskOpened, archive: Archive, warnings: list[str]) -> None:
    if source.repository is None:
        return
    with contextlib.suppress(ValueError):
        head = source.repository.head.commit.hexsha
        if head != opened.base:
            warnings.append(
                f"HEAD has moved on to {head[:12]}; the run keeps its base {opened.base[:12]} (--from HEAD starts a run from there)"
            )


def _report_policy(settings: RunSettings, opened: ev.RunOpened, warnings: list[str]) -> None:
    """A run keeps the policy that it was opened with; raises UsageError for one that is none."""
    wanted, kept = Policy.of(settings.policy).record(), Policy.known(opened.settings.get("policy", {})).record()
    for name in settings.policy:
        if wanted[name] != kept[name]:
            warnings.append(f"policy part {name} stays {kept[name]}, as the run was opened; a new --name takes {wanted[name]}")


def _limits(settings: RunSettings, writer: Writer, state: RunState) -> None:
    """Put the limits on record where they differ from those in force."""
    wanted = {
        "evaluations": settings.evaluations,
        "seconds": settings.seconds,
        "money": settings.money,
        "tokens": settings.tokens,
        "gpu_seconds": settings.gpu_seconds,
    }
    changes = {k: float(v) for k, v in wanted.items() if v is not None and state.ledger.limits.get(k) != v}
    if changes:
        state.apply(writer.append(ev.BudgetChanged(**changes, by="run")))
