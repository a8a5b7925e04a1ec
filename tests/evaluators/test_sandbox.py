"""Every rung that can be had here keeps the sandbox's contract. A plain user's rungs are run as one, in a process apart."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from evolve.evaluators.channel import unpack
from evolve.evaluators.sandbox import Command, ladder, local
from evolve.evaluators.sandbox.local import LABELS, LocalSandbox
from evolve.evaluators.testing import SandboxContract, tree_of
from evolve.tasks.errors import SandboxError

probe_rung = functools.cache(ladder.test_rung)


EVERYONES = "/usr/bin/python3"


@pytest.fixture
def interpreter_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """As root these rungs run candidates as another user, who must be able to read the interpreter. Where ours lies in a
    private folder, the system's is taken: a launcher needs nothing but the standard library."""
    if os.getuid() != 0 or not local._barrier(os.__file__):
        return
    if not os.access(EVERYONES, os.X_OK):
        pytest.skip(f"this Python lies in a private folder, and there is no {EVERYONES}")
    code = "import os, sys; print(os.__file__); sys.exit(sys.version_info < (3, 11))"
    asked = subprocess.run([EVERYONES, "-I", "-c", code], capture_output=True, text=True, check=False)
    if asked.returncode or local._barrier(asked.stdout.strip()):
        pytest.skip(f"this Python lies in a private folder, and {EVERYONES} is older than 3.11 or does too")
    monkeypatch.setattr(local, "_barrier", lambda path: "")
    monkeypatch.setattr(sys, "executable", EVERYONES)


def sandbox_of(rung: str, folder: Path) -> Iterator[LocalSandbox]:
    report = probe_rung(rung)
    if not report.available:
        pytest.skip(f"rung {rung!r} does not hold here: {report.why}")
    for part in (folder, *folder.parents):
        if part.owner() == "root" and os.getuid() == 0 and str(part).startswith("/tmp/"):
            part.chmod(0o755)
    made = LocalSandbox(rung, folder / "scratch")
    yield made
    assert not list(Path(tempfile.gettempdir()).glob(f"evolve-{made.uid}-*")) or made.uid == os.getuid()
    made.close()
    assert not (folder / "scratch").exists()


class TestNative(SandboxContract):
    @pytest.fixture
    def sandbox(self, tmp_path: Path) -> Iterator[LocalSandbox]:
        yield from sandbox_of("native", tmp_path)


class TestUserNamespace(SandboxContract):
    @pytest.fixture
    def sandbox(self, tmp_path: Path) -> Iterator[LocalSandbox]:
        yield from sandbox_of("userns", tmp_path)


class TestBubblewrap(SandboxContract):
    @pytest.fixture
    def sandbox(self, tmp_path: Path) -> Iterator[LocalSandbox]:
        yield from sandbox_of("bubblewrap", tmp_path)


class TestLandlock(SandboxContract):
    @pytest.fixture
    def sandbox(self, tmp_path: Path, interpreter_for_all: None) -> Iterator[LocalSandbox]:
        yield from sandbox_of("landlock", tmp_path)


class TestSeparateUid(SandboxContract):
    @pytest.fixture
    def sandbox(self, tmp_path: Path, interpreter_for_all: None) -> Iterator[LocalSandbox]:
        yield from sandbox_of("process", tmp_path)


@pytest.mark.jail
def test_a_control_group_that_was_removed_is_made_again(tmp_path: Path) -> None:
    """A session manager may tidy up after the shell that a run was started from."""
    for sandbox in sandbox_of("native", tmp_path):
        group = sandbox._group
        if group is None:
            pytest.skip("control groups are not writable here")
        for _ in range(2):
            outcome = sandbox.run(Command(("/bin/sh", "-c", "echo there"), tree_of(tmp_path / "t")))
            assert outcome.stdout == "there\n", outcome
            for folder in group.folders:
                os.rmdir(folder)


@pytest.mark.jail
def test_the_strongest_rung_passes_its_self_test() -> None:
    reports = [probe_rung(rung) for rung in ("native", "userns", "bubblewrap")]
    best = next(report for report in reports if report.available)
    assert not best.lost and len(best.held) == 12


def test_an_open_wall_is_named_in_the_label(tmp_path: Path) -> None:
    sandbox = LocalSandbox("bare", tmp_path / "s", opened=frozenset({"network"}))
    assert sandbox.label == "UNPROTECTED (open: network)"
    sandbox.close()


def test_unknown_rung_and_wall_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="no rung 'steel'"):
        LocalSandbox("steel", tmp_path)
    with pytest.raises(SandboxError, match="no wall 'roof'"):
        LocalSandbox("bare", tmp_path, opened=frozenset({"roof"}))
    assert set(LABELS.values()) == {"jailed", "jailed-user", "confined", "separate-uid", "UNPROTECTED"}


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
@pytest.mark.parametrize("rung", ["userns", "bubblewrap", "landlock"])
def test_a_plain_user_has_the_rung(rung: str, tmp_path: Path) -> None:
    """As `nobody`, with an interpreter that everyone may read; the self-test decides."""
    interpreter = next(
        (p for p in ("/usr/bin/python3", "/usr/local/bin/python3") if os.access(p, os.X_OK)), sys.executable
    )
    root = str(Path(__file__).parents[2])
    code = (
        f"import sys; sys.path.append({root!r})\n"
        "from evolve.evaluators.sandbox.ladder import test_rung\n"
        f"report = test_rung({rung!r})\nprint(report.available, report.lost, report.why)"
    )
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", interpreter, "-c", code],
        capture_output=True, text=True, cwd="/", env={"PATH": os.environ["PATH"]}, timeout=60, check=False,
    )  # fmt: skip
    if "Permission denied" in done.stderr or "SyntaxError" in done.stderr or "No module named" in done.stderr:
        pytest.skip(f"no interpreter that a plain user may run our code with: {done.stderr.strip().splitlines()[-1]}")
    if "cannot be set up here" in done.stdout or "needs the program" in done.stdout or "Landlock ABI" in done.stdout:
        pytest.skip(done.stdout.strip())
    assert done.stdout.startswith("True ()"), done.stdout + done.stderr


@pytest.mark.parametrize("how", ["called", "executed"])
@pytest.mark.parametrize("rung", ["native", "userns", "bubblewrap", "landlock", "process"])
def test_a_candidate_has_no_capability(rung: str, how: str, tmp_path: Path, interpreter_for_all: None) -> None:
    text = (
        "def f():\n    return [l for l in open('/proc/self/status') if l.startswith(('CapEff', 'CapPrm', 'CapBnd'))]\n"
    )
    tree = tree_of(tmp_path / "t", program=text)
    for sandbox in sandbox_of(rung, tmp_path):
        if how == "called":
            said = str(unpack(sandbox.call(Command((), tree, frame=4096), "program.py:f", ()).frame)[0]["value"])
        else:
            said = sandbox.run(Command(("/bin/grep", "-E", "Cap(Eff|Prm)", "/proc/self/status"), tree)).stdout
        caps = dict(re.findall(r"(Cap\w+):\D*([0-9a-f]{16})", said))
        assert caps["CapEff"] == caps["CapPrm"] == "0" * 16, said


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to put a folder below /usr")
@pytest.mark.parametrize("rung", ["native", "userns", "bubblewrap", "landlock"])
def test_a_project_below_the_toolchain_is_not_seen(rung: str, tmp_path: Path, interpreter_for_all: None) -> None:
    """As in many containers: a project in /usr/src, which the toolchain's mount shows."""
    with tempfile.TemporaryDirectory(dir="/usr/local", prefix="evolve-test-") as project:
        os.chmod(project, 0o755)
        Path(project, "answers.json").write_text("the answers")
        os.mkdir(f"{project}/tools")
        Path(project, "tools/tool").write_text("a tool")
        for part in (tmp_path, *tmp_path.parents):
            if part.owner() == "root" and str(part).startswith("/tmp/"):
                part.chmod(0o755)
        try:
            sandbox = LocalSandbox(rung, tmp_path / "s", hide=(project,), show=(f"{project}/tools",))
        except SandboxError as error:
            if rung == "landlock":
                assert "cannot hide" in str(error)
                return
            pytest.skip(str(error))
        try:
            line = f"cat {project}/answers.json; cat {project}/tools/tool; echo x > {project}/left; ls {project}"
            outcome = sandbox.run(Command(("/bin/sh", "-c", line), tree_of(tmp_path / "t")))
        finally:
            sandbox.close()
        assert outcome.stdout == "a tooltools\n" and not Path(project, "left").exists()


def test_what_is_hidden_is_only_what_would_be_shown(tmp_path: Path) -> None:
    binds = [str(tmp_path / "a"), str(tmp_path / "b")]
    for name in ("a/project", "b", "c"):
        (tmp_path / name).mkdir(parents=True)
    wanted = tuple(str(tmp_path / name) for name in ("a/project", "b", "c", "nothing"))
    assert local._shown(wanted, binds) == [str(tmp_path / "a/project")]


def test_a_clean_parent_whose_preload_asked_for_a_gpu_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if not torch.backends.cuda.is_built():
        pytest.skip("this torch is built without CUDA")
    modules = ("torch", "tests.evaluators.asks_for_a_gpu")
    sandbox = LocalSandbox(ladder.strongest(), tmp_path / "sandbox", preload=modules, devices=("/dev/null",))
    try:
        with pytest.raises(SandboxError, match=r"importing tests\.evaluators\.asks_for_a_gpu touched the GPU's driver"):
            sandbox.run(Command(("true",), tmp_path))
    finally:
        sandbox.close()


@pytest.mark.parametrize(
    ("counts", "held"), [([3], True), ([0, 0, 3], True), ([10_000], False), ([0, 10_000], False), ([0] * 5, False)]
)
def test_a_limit_on_processes_holds_only_where_some_could_be_started(
    counts: list[int], held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user whose other processes leave no room shows nothing: tried again, and no pass where it never shows."""
    left = iter(counts)
    monkeypatch.setattr(ladder, "_value", lambda outcome: next(left))
    monkeypatch.setattr(ladder.time, "sleep", lambda seconds: None)
    sandbox = SimpleNamespace(call=lambda *given: SimpleNamespace(failure=None))
    assert ladder._processes_held(sandbox, None, SimpleNamespace(facts=dict)) is held  # type: ignore[arg-type]


def test_the_training_launcher_asks_for_no_gpu(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from evolve.evaluators.training import supervisor, tracks

    sandbox = LocalSandbox(
        ladder.strongest(),
        tmp_path / "sandbox",
        preload=supervisor.preload(tracks.TRACKS["nanochat/30s"]),
        devices=("/dev/null",),
    )
    try:
        sandbox._start()  # raises where a module of the list asked for one
    finally:
        sandbox.close()
