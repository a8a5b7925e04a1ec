"""The outer, disposable jail in which attacks are run, with one wall open or none.

Started as root by the tests; the last argument "plain" makes it go on as a plain user. Everything below happens in new
mount, pid, network, IPC and UTS namespaces on an overlay of the machine's own root whose upper layer is thrown away.
Requests are JSON lines on stdin: {"attack", "rung", "open"}; answers on stdout: {"worked": bool, "detail": text}.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

PRELOAD = ("ctypes", "encodings.idna", "mmap", "resource", "signal", "socket", "struct", "threading")
"""What moves.py imports: an interpreter may lie where another user id cannot read it."""


def main() -> None:
    from evolve.evaluators.sandbox import system

    if os.getuid() == 0:
        _enter(system)
        if sys.argv[-1] == "plain":
            os.environ.update(HOME="/tmp", TMPDIR="/tmp")
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            system.prctl(system.PR_SET_DUMPABLE, 1)
    ring = Ring()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(ring.fight(request["attack"], request["rung"], frozenset(request["open"]))), flush=True)
    ring.close()


def _enter(system: Any) -> None:
    """Into the disposable machine; the first process waits for us and takes everything down."""
    from evolve.evaluators.sandbox.jail import loopback_up

    flags = system.CLONE_NEWNS | system.CLONE_NEWPID | system.CLONE_NEWNET | system.CLONE_NEWIPC | system.CLONE_NEWUTS
    system.unshare(flags)
    child = os.fork()
    if child:
        signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    system.prctl(system.PR_SET_PDEATHSIG, signal.SIGKILL)
    system.mount("none", "/", "", system.MS_REC | system.MS_PRIVATE)
    upper = tempfile.mkdtemp()
    system.mount("tmpfs", upper, "tmpfs", 0, "size=512m")
    for name in ("u", "w", "root"):
        os.mkdir(f"{upper}/{name}")
    system.mount("overlay", f"{upper}/root", "overlay", 0, f"lowerdir=/,upperdir={upper}/u,workdir={upper}/w")
    root = f"{upper}/root"
    system.mount("/dev", f"{root}/dev", "", system.MS_BIND | system.MS_REC)
    system.mount("tmpfs", f"{root}/dev/shm", "tmpfs", 0, "mode=1777")
    system.mount("/sys", f"{root}/sys", "", system.MS_BIND | system.MS_REC)
    system.mount("proc", f"{root}/proc", "proc")
    os.makedirs(f"{root}/oldroot", exist_ok=True)
    where = os.getcwd()
    os.chdir(root)
    system.pivot_root(".", "oldroot")
    system.umount("/oldroot")
    os.chdir(where)
    os.makedirs("/home/candidate", exist_ok=True)
    os.chmod("/home/candidate", 0o777)
    loopback_up()


class Ring:
    """Sandboxes and scenes, reused while they are whole."""

    def __init__(self) -> None:
        from evolve.evaluators.sandbox import local

        if os.getuid() == 0:  # the machine's own leases and groups are not ours to touch
            local.FIRST_UID = 62_000
        self._root = Path(tempfile.mkdtemp(prefix="arena-"))
        self._root.chmod(0o755)
        self._sandboxes: dict[tuple[str, frozenset[str]], Any] = {}
        self._scene: Any = None

    def _sandbox(self, rung: str, opened: frozenset[str]) -> Any:
        from evolve.evaluators.sandbox.local import LocalSandbox

        key = (rung, opened)
        if key not in self._sandboxes:
            self._sandboxes[key] = LocalSandbox(rung, self._root / f"s{len(self._sandboxes)}", opened=opened, preload=PRELOAD)
        return self._sandboxes[key]

    def fight(self, name: str, rung: str, opened: frozenset[str]) -> dict[str, Any]:
        """One attack; whether it had its effect."""
        from evolve.evaluators.channel import Refused, unpack
        from evolve.evaluators.sandbox import Command
        from evolve.tasks.errors import SandboxError
        from tests.attacks.catalogue import BY_NAME
        from tests.attacks.scene import LIMITS, Scene

        attack = BY_NAME[name]
        try:
            sandbox = self._sandbox(rung, opened)
        except SandboxError as error:
            return {"unavailable": str(error)}
        if self._scene is None or self._scene.uid != sandbox.uid:
            if self._scene is not None:
                self._scene.close()
            self._scene = Scene(Path(tempfile.mkdtemp(dir=self._root)), sandbox.uid)
        scene = self._scene
        tree = scene.root / "tree"
        tree.mkdir(exist_ok=True)
        shutil.copy(Path(__file__).with_name("moves.py"), tree / "attack.py")
        (tree / "kept.py").write_text("kept\n")
        outcome, value, detail = None, None, ""
        ours = {scene.twin.pid}
        try:
            with scene.watch.looking(ours):
                command = Command((), tree, wall=attack.wall, limits=LIMITS, frame=1 << 20)
                outcome = sandbox.call(command, f"attack.py:{name}", (scene.facts(),))
            with contextlib.suppress(Refused):
                value = unpack(outcome.frame)[0]["value"]
            detail = str(outcome.failure) if outcome.failure else f"returned {str(value)[:80]!r}"
        except SandboxError as error:
            detail = f"SandboxError: {error}"
            self._sandboxes.pop((rung, opened)).close()
        worked = attack.effect(scene, outcome, value)
        scene.renew(swept="sweep" not in opened)
        return {"worked": bool(worked), "detail": detail, "uid": sandbox.uid}

    def close(self) -> None:
        if self._scene is not None:
            self._scene.close()
        for sandbox in self._sandboxes.values():
            sandbox.close()


if __name__ == "__main__":
    main()
