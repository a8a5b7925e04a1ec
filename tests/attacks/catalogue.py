"""The attacks on the jail: what each needs open to work, how its effect is seen, and which rungs hold it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from evolve.evaluators.sandbox import Outcome
from evolve.tasks.evidence import FailureKind
from tests.attacks.scene import LIMITS, Scene, named

Effect = Callable[[Scene, Outcome | None, Any], bool]
"""(scene, outcome, returned value) -> whether the attack had its effect, as seen from outside."""

JAILS = ("native", "userns", "bubblewrap")
WALLED = (*JAILS, "landlock")
ALL = (*WALLED, "process")


@dataclass(frozen=True)
class Attack:
    """`opened`: the walls of the native rung without which it works (the positive control); None: no control, `why` says.

    rungs: those that must hold it. again: what a second candidate must not find, "" for none. wall: seconds of its run.
    """

    name: str
    opened: tuple[str, ...] | None
    effect: Effect
    rungs: tuple[str, ...] = ALL
    wall: float = 4.0
    why: str = ""
    private: bool = False  # mounts a folder read-only that holds a file of another user


def told(scene: Scene, outcome: Outcome | None, value: Any) -> bool:
    """It came back with a secret that it could not know."""
    return isinstance(value, str) and scene.secret in value


def marker_told(scene: Scene, outcome: Outcome | None, value: Any) -> bool:
    return isinstance(value, str) and scene.marker in value


def soon(seen: Callable[[Scene], bool]) -> Effect:
    """What the kernel may take a moment to do."""

    def look(scene: Scene, outcome: Outcome | None, value: Any) -> bool:
        for _ in range(20):
            if seen(scene):
                return True
            time.sleep(0.01)
        return False

    return look


def heard(word: str) -> Effect:
    return soon(lambda scene: word in scene.heard)


def exists(path: str) -> Effect:
    return lambda scene, outcome, value: os.path.lexists(path.format(open=scene.open, mark=scene.mark))


def survives(scene: Scene, outcome: Outcome | None, value: Any) -> bool:
    return bool(named(scene.mark))


def holds_descriptor(kind: str) -> Effect:
    return lambda scene, outcome, value: any(kind in name for name in scene.watch.descriptors)


def over(what: str, limit: int) -> Effect:
    return lambda scene, outcome, value: scene.watch.most.get(what, 0) > limit


def not_as(kind: FailureKind) -> Effect:
    """It ran to its end, or was ended for another reason than the limit it broke."""
    return lambda scene, outcome, value: outcome is None or outcome.failure is None or outcome.failure.kind is not kind


def went_on(scene: Scene, outcome: Outcome | None, value: Any) -> bool:
    """It took the name that a move takes only after its system call was allowed."""
    return scene.watch.most.get("files", 0) > 0


def grader_changed(scene: Scene, outcome: Outcome | None, value: Any) -> bool:
    return "forged" in (scene.open / "grader_helper.py").read_text()


def fifo_forged(scene: Scene, outcome: Outcome | None, value: Any) -> bool:
    return _drained(scene.fifo)


def pipe_forged(scene: Scene, outcome: Outcome | None, value: Any) -> bool:
    return _drained(scene.pipe)


def _drained(fd: int) -> bool:
    try:
        return bool(os.read(fd, 100))
    except BlockingIOError:
        return False


OTHERS = ("pids", "sweep")
"""The pid namespace, and the sweep of the candidate's user id that would hide what it did to a process of that id."""

TREE_MEMORY = ("cgroup", "memory")

ATTACKS = (
    # files and paths
    Attack("read_secret", ("mounts",), told, WALLED),
    Attack("read_private", None, told, why="needs both another root and another user id to be open"),
    Attack("read_answers_next_to_the_grader", ("mounts",), told, WALLED),
    Attack("list_a_folder", ("mounts",), marker_told, WALLED),
    Attack("read_through_old_root", ("old root",), told),
    Attack("read_through_root_of_another", OTHERS, told, WALLED),
    Attack("write_outside", ("mounts",), exists("{open}/planted"), WALLED),
    Attack("overwrite_a_grader_module", ("mounts",), grader_changed, WALLED),
    Attack("plant_sitecustomize", ("mounts",), exists("{open}/sitecustomize.py"), WALLED),
    Attack("poison_a_compile_cache", ("mounts",), exists("{open}/cache/kernel.so"), WALLED),
    Attack("plant_a_symlink", ("mounts",), exists("{open}/result.json"), WALLED),
    Attack("write_into_a_fifo", ("mounts",), fifo_forged, WALLED),
    Attack("talk_to_a_service_socket", ("mounts",), heard("path"), WALLED),
    Attack("leave_in_tmp", ("private tmp",), exists("/tmp/{mark}"), WALLED),
    Attack("leave_in_shm", ("private shm",), exists("/dev/shm/{mark}"), WALLED),
    Attack("leave_in_home", ("private home",), exists("/home/candidate/{mark}"), WALLED),
    Attack("change_the_toolchain", None, exists("/usr/{mark}"), why="its mounts are read-only and it is not their owner"),
    # network
    Attack("connect", ("network",), heard("tcp"), WALLED),
    Attack("connect_v6", ("network",), heard("tcp6"), WALLED),
    Attack("send_datagram", ("network",), heard("udp"), WALLED),
    Attack("connect_abstract", ("network",), heard("abstract"), WALLED),
    Attack("serve_a_port", ("network",), lambda s, o, v: s.watch.served, WALLED),
    Attack("see_sockets", ("network",), marker_told, JAILS),
    # other processes of the same user
    Attack("kill_a_process", OTHERS, soon(lambda s: s.twin.poll() is not None), WALLED),
    Attack("kill_by_pidfd", OTHERS, soon(lambda s: s.twin.poll() is not None), WALLED),
    Attack("kill_everything", OTHERS, soon(lambda s: s.twin.poll() is not None), WALLED),
    Attack("stop_a_process", OTHERS, soon(lambda s: s.state(s.twin.pid) == "T"), WALLED),
    Attack("lower_limits_of_another", OTHERS, lambda s, o, v: s.limits(s.twin.pid)),
    Attack("renice_another", OTHERS, lambda s, o, v: os.getpriority(os.PRIO_PROCESS, s.twin.pid) == 17),
    Attack("pin_another", OTHERS,
           lambda s, o, v: len(os.sched_getaffinity(s.twin.pid)) == 1 < len(os.sched_getaffinity(0))),
    Attack("read_environment_of_another", OTHERS, marker_told, WALLED),
    Attack("read_memory_of_another", OTHERS, marker_told, WALLED),
    Attack("read_open_file_of_another", OTHERS, told, WALLED),
    Attack("forge_on_anothers_pipe", OTHERS, pipe_forged, WALLED),
    Attack("read_command_lines", OTHERS, lambda s, o, v: isinstance(v, str) and f"argv-{s.marker}" in v, JAILS),
    Attack("trace_a_process", (*OTHERS, "seccomp"), lambda s, o, v: s.watch.tracer_seen),
    Attack("kill_the_keeper", None, lambda s, o, v: o is None, why="the keeper is of another user and namespace: two walls"),
    # outliving
    Attack("leave_a_daemon", OTHERS, survives),
    Attack("leave_a_deaf_daemon", OTHERS, survives),
    Attack("leave_a_daemon_on_stdout", OTHERS, survives),
    Attack("leave_a_subreaper", OTHERS, survives),
    Attack("leave_a_stopped_daemon", OTHERS, survives),
    Attack("leave_a_hopping_daemon", OTHERS, survives),
    Attack("leave_a_daemon_by_crashing", OTHERS, survives),
    Attack("hang", None, lambda s, o, v: o is None or survives(s, o, v) or o.cost.wall > 1.7, wall=0.7,
           why="without the clock the arena itself would hang"),
    Attack("leave_a_thread_behind", None, lambda s, o, v: o is None or survives(s, o, v) or o.cost.wall > 1.7, wall=0.7,
           why="without the clock the arena itself would hang"),
    # what outlives a process in the kernel
    Attack("read_shared_segment", ("ipc",), told),
    Attack("write_shared_segment", ("ipc",), lambda s, o, v: s.segment() != s.secret),
    Attack("leave_a_shared_segment", ("ipc",), lambda s, o, v: s.left_ipc()),
    Attack("leave_a_message_queue", ("ipc",), lambda s, o, v: s.left_ipc()),
    Attack("leave_a_semaphore", ("ipc",), lambda s, o, v: s.left_ipc()),
    Attack("leave_a_key", ("seccomp",), went_on),
    Attack("rename_the_machine", ("uts", "seccomp", "uid", "capabilities"), lambda s, o, v: os.uname().nodename == s.mark),
    # the kernel's surface
    Attack("make_a_user_namespace", ("seccomp",), lambda s, o, v: len(s.watch.user_namespaces) > 0),
    Attack("clone_into_a_user_namespace", ("seccomp",), lambda s, o, v: len(s.watch.user_namespaces) > 0),
    Attack("clone3_into_a_user_namespace", ("seccomp",), lambda s, o, v: len(s.watch.user_namespaces) > 0),
    Attack("open_io_uring", ("seccomp",), holds_descriptor("io_uring")),
    Attack("open_userfaultfd", ("seccomp",), holds_descriptor("userfaultfd")),
    Attack("open_perf_event", ("seccomp",), holds_descriptor("perf_event")),
    Attack("open_secret_memory", ("seccomp",), holds_descriptor("secretmem")),
    Attack("open_fanotify", ("seccomp",), holds_descriptor("fanotify")),
    Attack("use_the_other_system_call_table", ("seccomp",), lambda s, o, v: v == "survived"),
    Attack("raise_own_limits", None, over("files", LIMITS.files), why="a machine's root may itself lack that right"),
    Attack("ask_for_a_core_handler", ("seccomp",), lambda s, o, v: s.watch.core_seen),
    Attack("become_root", ("uid", "capabilities"), lambda s, o, v: s.watch.root_seen),
    # limits
    Attack("open_many_files", ("files",), over("files", LIMITS.files + 8)),
    Attack("fork_bomb", ("processes", "cgroup"), over("processes", LIMITS.processes + 12)),
    Attack("thread_bomb", ("processes", "cgroup"), over("threads", LIMITS.processes + 12)),
    Attack("memory_by_one", TREE_MEMORY, over("rss", LIMITS.memory + (32 << 20))),
    Attack("memory_by_many", TREE_MEMORY, not_as(FailureKind.MEMORY)),
    Attack("memory_shared", TREE_MEMORY, not_as(FailureKind.MEMORY)),
    Attack("memory_in_unmapped_files", (*TREE_MEMORY, "disk"), over("hidden", LIMITS.memory + (32 << 20))),
    Attack("fill_the_disk", ("disk",), over("disk", 3 * LIMITS.disk)),
    Attack("fill_by_many_files", ("disk",), over("disk", 3 * LIMITS.disk), JAILS),
    Attack("fill_the_inodes", ("disk",), over("inodes", 3 * LIMITS.inodes), ("native", "userns")),
    Attack("sparse_file", ("disk",), over("longest", 2 * LIMITS.disk)),
    Attack("flood_stdout", None, not_as(FailureKind.OUTPUT), why="nothing would end it"),
    Attack("flood_stderr", None, not_as(FailureKind.OUTPUT), why="nothing would end it"),
    Attack("spin", None, lambda s, o, v: o is None or survives(s, o, v), wall=0.5, why="nothing would end it"),
    # our own descriptors
    Attack("forge_the_end", None, lambda s, o, v: o is not None and o.failure is None,
           why="the first process has the last word even where its pipe is left open"),
    Attack("blame_the_machine", ("descriptors",), lambda s, o, v: o is None),
    Attack("blame_by_killing_init", None, lambda s, o, v: o is None, why="the kernel itself shields a namespace's first process"),
    Attack("change_the_tree_for_the_next", None, lambda s, o, v: (s.root / "tree/kept.py").read_text() != "kept\n",
           why="each gets its own copy; there is nothing to open"),
)  # fmt: skip

BY_NAME = {attack.name: attack for attack in ATTACKS}
