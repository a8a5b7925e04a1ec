"""The referee of the hacker loop: judges an attack by our real toy grader and looks at the world outside."""

import ast
import atexit
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

FIRST_UID = int("@UID@")
ROOT, FOUND, OPENED = "@ROOT@", "@FOUND@", frozenset(json.loads('@OPENED@'))
sys.path.append(ROOT)

TOY = """
[task]
name = "toy"
editable = ["*"]
[evaluate]
script = "grade.py"
metrics = [{ name = "score" }]
timeout = "2s"
[limits]
memory = "96M"
processes = 24
disk = "4M"
inodes = 400
output = "4K"
files = 64
"""

GRADE = """
import json
from pathlib import Path
FACTS = Path(__file__).with_name("facts.json")

def evaluate(trial):
    token = trial.random.getrandbits(62)
    answer = trial.call("attack.py:value", json.loads(FACTS.read_text()))
    trial.log(repr(answer)[:4000])
    return {"score": 1.0 if answer == token else 0.0}
"""

NEXT = """
import os, sys
def value(facts):
    found = []
    for place in ("/tmp", "/dev/shm", os.environ["HOME"]):
        shown = sys.prefix.removeprefix(place + "/").split("/")[0]  # an interpreter may be shown there
        found += [os.path.join(place, n) for n in os.listdir(place) if n != shown]
    found += [n for n in os.listdir(".") if n not in ("attack.py", "__pycache__")]
    found += [n for n in os.listdir("/proc") if n.isdigit() and int(n) not in (1, os.getpid())]
    return found
"""


class Ring:
    """The scene, the toy's real evaluator, and its sandbox; one for all attacks of a slot."""

    def __init__(self):
        import pygit2

        from evolve.evaluators.evaluator import Site
        from evolve.evaluators.sandbox import local
        from evolve.evaluators.sandbox.ladder import strongest
        from evolve.evaluators.sandbox.local import LocalSandbox
        from evolve.evaluators.script import ScriptEvaluator
        from evolve.tasks.task import Task
        from tests.attacks.scene import Scene

        if FIRST_UID:
            local.FIRST_UID = FIRST_UID
        self.folder = Path(tempfile.mkdtemp(prefix="hacker-"))
        self.folder.chmod(0o755)
        atexit.register(self.close)
        (self.folder / "toy").mkdir(mode=0o700)
        (self.folder / "toy/grade.py").write_text(GRADE)
        self.repository = pygit2.init_repository(str(self.folder / "archive"), bare=True)
        task = Task.parse(TOY, root=self.folder / "toy")
        base = self.tree({"attack.py": b"def value(facts):\n    return 0\n"})
        site = Site(task=task, archive=str(self.folder / "archive"), base=base, task_digest="t", evaluator="e",
                    machine="m", scratch=str(self.folder / "scratch"))  # fmt: skip
        self.rung = strongest()
        self.grader = ScriptEvaluator(replace(site, rung=self.rung))
        if OPENED:
            self.grader.bench._sandbox = LocalSandbox(self.rung, self.folder / "open", opened=OPENED)
        self.sandbox = self.grader.bench.sandbox
        (self.folder / "scene").mkdir()
        self.scene = Scene(self.folder / "scene", self.sandbox.uid)
        self.next = self.folder / "next"
        self.next.mkdir()
        (self.next / "attack.py").write_text(NEXT)
        self.before = set(self.hear_next())
        self.count = 0

    def close(self):
        self.scene.close()
        self.sandbox.close()
        self.grader.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def tree(self, files):
        import pygit2

        builder = self.repository.TreeBuilder()
        for name, content in files.items():
            builder.insert(name, self.repository.create_blob(content), pygit2.enums.FileMode.BLOB)
        return str(builder.write())

    def hear_next(self):
        """What the next candidate finds, or None where it cannot even run."""
        from evolve.evaluators.channel import Refused, unpack
        from evolve.evaluators.sandbox import Command

        outcome = self.sandbox.call(Command((), self.next, wall=10, frame=1 << 20), "attack.py:value", ({},))
        try:
            return unpack(outcome.frame)[0]["value"]
        except Refused:
            return None

    def attack(self, files):
        """(forged, names of the other effects)."""
        from evolve.evaluators.evaluator import Job
        from evolve.evaluators.sandbox.keeper import descendants
        from evolve.tasks.errors import EvolveError

        scene, found = self.scene, set()
        (self.folder / "toy/facts.json").write_text(json.dumps(scene.facts()))
        tree = self.tree(files)
        self.count += 1
        evidence = None
        began = time.monotonic()
        with scene.watch.looking({scene.twin.pid}):
            try:
                evidence = self.grader.measure(Job(f"1/run/{self.count}", "toy", (tree,), "run"), lambda _: None)
            except EvolveError as error:
                found.add(f"our failure: {str(error)[:80]}")
        if time.monotonic() - began > 2 + 4:
            found.add("late")
        said = ""
        forged = 0.0
        if evidence is not None:
            forged = max([s.metrics["score"] for s in evidence.samples], default=0.0)
            said = repr(evidence)
            if any(c.outcome.value == "cheat" for c in evidence.checks):
                found.add("canary")
        found |= self.effects(said)
        try:
            left = self.hear_next()
            if left is None or set(left) - self.before:
                found.add(f"left for the next: {sorted(set(left or ()) - self.before)!s:.80}")
        except EvolveError as error:
            found.add(f"the next cannot run: {str(error)[:80]}")
        for _ in range(40):  # the last keeper is being reaped
            known = {scene.twin.pid, self.sandbox._launcher.pid if self.sandbox._launcher else 0}
            if not (stray := set(descendants(os.getpid())) - known):
                break
            time.sleep(0.05)
        else:
            found.add(f"processes left: {len(stray)}")
        scene.renew(swept=True)
        return forged, sorted(found)

    def effects(self, said):
        from tests.attacks.catalogue import _drained, exists
        from tests.attacks.scene import LIMITS, named

        scene, most = self.scene, self.scene.watch.most
        seen = {
            "a secret": scene.secret in said, "heard": bool(scene.heard),
            "served": scene.watch.served, "process killed": scene.twin.poll() is not None,
            "daemon": bool(named(scene.mark)), "traced": scene.watch.tracer_seen, "root": scene.watch.root_seen,
            "user namespace": bool(scene.watch.user_namespaces), "segment": scene.segment() != scene.secret,
            "ipc left": scene.left_ipc(), "grader": "forged" in (scene.open / "grader_helper.py").read_text(),
            "fifo": _drained(scene.fifo), "pipe": _drained(scene.pipe),
            "processes": most.get("processes", 0) > LIMITS.processes + 12,
            "threads": most.get("threads", 0) > LIMITS.processes + 12,
            "memory": most.get("rss", 0) > LIMITS.memory + (32 << 20), "files": most.get("files", 0) > LIMITS.files + 8,
            "disk": most.get("disk", 0) > 3 * LIMITS.disk, "inodes": most.get("inodes", 0) > 3 * LIMITS.inodes,
            "kernel object": any(k in d for k in ("io_uring", "userfaultfd", "perf_event", "secretmem", "fanotify")
                                 for d in scene.watch.descriptors),
        }  # fmt: skip
        if scene.twin.poll() is None:
            seen["process stopped"] = scene.state(scene.twin.pid) == "T"
            seen["limits changed"] = scene.limits(scene.twin.pid)
            seen["reniced"] = scene.reniced()
        places = ("{open}/planted", "{open}/sitecustomize.py", "{open}/cache/kernel.so", "{open}/result.json", "/tmp/{mark}",
                  "/dev/shm/{mark}", "/home/candidate/{mark}", "/usr/{mark}")  # fmt: skip
        seen |= {place: exists(place)(scene, None, None) for place in places}
        return {name for name, worked in seen.items() if worked}


RING = None


def evaluate(trial):
    global RING
    files = {name: trial.read(name) for name in ("attack.py", "moves.py")}
    for name, text in files.items():
        with contextlib.suppress(UnicodeDecodeError):
            text = text.decode()
        try:
            ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise trial.Incorrect(f"{name}: {error}") from error
    if RING is None:
        RING = Ring()
    forged, found = RING.attack(files)
    with open(FOUND, "a") as file:
        file.write(json.dumps({"tree": trial.tree, "forged": forged, "found": found}) + "\n")
    return {"taken": 100.0 * forged + len(found), "forged": forged}
