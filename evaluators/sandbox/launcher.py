"""The clean parent: a small process that forks each candidate into its jail. Standard library only; started with -I.

    launcher    one per slot; holds no secret; imported what candidates commonly need; waits for requests
      keeper    one per candidate, outside the jail: clock, limits, kills the tree, reports how it ended (keeper.py)
        init    first process of the candidate's pid namespace: builds the jail (jail.py), reaps
          candidate    dropped rights, then exec, or a call of a Python function without a new interpreter (worker.py)

When init ends, the kernel ends every process of its pid namespace: daemons, double forks and sessions included. Where
there are no namespaces the keeper is a subreaper and sweeps until nothing is left. Each of the four dies with the one
above it.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import select
import signal
import socket
import sys
from typing import Any, NoReturn

from evolve.evaluators.sandbox import bubble, filters, jail, keeper, landlock, network, system, worker
from evolve.evaluators.sandbox.cgroups import Group
from evolve.evaluators.sandbox.jail import NAMESPACED

Request = dict[str, Any]

GONE = 3
"""A keeper's exit code where the slot is gone."""


def main() -> None:
    """Serve requests on the socket given as the only argument until it is closed. Its first message configures us."""
    control = socket.socket(fileno=int(sys.argv[1]))
    system.prctl(system.PR_SET_PDEATHSIG, signal.SIGKILL)
    configuration: Request = json.loads(control.recv(1 << 20) or b"{}")
    if not configuration:
        return
    system.prctl(system.PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Namespaces first: a library that starts a thread when imported would take the right to a new user namespace away.
    base = jail.prepare(configuration) if configuration["rung"] in NAMESPACED else ""
    preload(configuration["preload"], gpu=bool(configuration["devices"]))
    if configuration["rung"] not in ("bare", "bubblewrap"):
        filters.program(policy({**configuration, "network": False}))  # made once, for every candidate to inherit
        if os.getuid() == 0 and "capabilities" not in configuration["opened"]:
            system.drop_bounding_set()
    control.send(json.dumps({"ready": True}).encode())
    waiting = select.poll()
    waiting.register(control, select.POLLIN)
    while True:
        # A request is read by the keeper alone. What this process once held, every later candidate would find in the
        # memory that it is forked with: the hidden inputs of those before it.
        waiting.poll()
        child = os.fork()
        if child == 0:
            _guarded(control, {**configuration, "base": base})
        _, status = os.waitpid(child, 0)
        keeper.reap()  # orphans of a keeper that was itself killed end up here
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == GONE:
            os._exit(0)
        if status != 0:
            control.send(json.dumps({"error": f"the keeper ended with status {status}"}).encode())


def preload(modules: list[str], *, gpu: bool) -> None:
    """Import what every candidate will find. Raises RuntimeError naming a module whose import touched a GPU's driver: no
    process forked from then on could use a GPU, and its own error would not say why."""
    for module in modules:
        __import__(module)
        if gpu and "torch" in sys.modules and _poisoned():
            raise RuntimeError(f"importing {module} touched the GPU's driver, so that no forked process could use a GPU")


def _poisoned() -> bool:
    """Whether torch would refuse a GPU to a process forked now; only such a process can tell."""
    child = os.fork()
    if child == 0:
        os._exit(int(sys.modules["torch"].cuda._is_in_bad_fork()))
    return os.waitpid(child, 0)[1] != 0


def _guarded(control: socket.socket, configuration: Request) -> NoReturn:
    """Run the keeper; what goes wrong in it is reported as our own failure."""
    data, fds, _, _ = socket.recv_fds(control, 1 << 22, 8)
    if not data:
        os._exit(GONE)
    request: Request = {**configuration, **json.loads(data)}
    if "stop" in request:  # meant for a candidate that had ended by then
        os._exit(0)
    try:
        report = _keep(control, request, fds)
    except (OSError, RuntimeError) as error:  # a RecursionError is one
        report = {"error": f"{type(error).__name__}: {error}"}
    try:
        control.send(json.dumps(report).encode())
    except OSError:
        os._exit(GONE)
    os._exit(0)


def _keep(control: socket.socket, request: Request, fds: list[int]) -> Request:
    opened = request["opened"]
    system.prctl(system.PR_SET_CHILD_SUBREAPER, 1)
    jailed = request["rung"] in NAMESPACED
    if jailed and "lifeline" not in opened:
        system.prctl(system.PR_SET_PDEATHSIG, signal.SIGKILL)
    group = Group(**request["group"]) if request["group"] and "cgroup" not in opened else None
    if group is not None:
        limits = request["limits"]
        group.reset()
        ours = 3 if request["hosts"] else 2
        group.limit(limits["memory"], limits["processes"] + ours if "processes" not in opened else 1 << 20)
    if jailed and request["hosts"]:
        request["proxy"], proxy = network.start(request, group)
    if jailed:
        wanted = (("pids", system.CLONE_NEWPID), ("ipc", system.CLONE_NEWIPC), ("uts", system.CLONE_NEWUTS))
        flags = sum(flag for name, flag in wanted if name not in opened)
        system.unshare(flags | (0 if request["network"] or "network" in opened else system.CLONE_NEWNET))
        if request["hosts"]:
            jail.loopback_up()
            network.listen(proxy)
    status, status_end = os.pipe2(os.O_CLOEXEC)
    init = os.fork()
    if init == 0:
        os.close(status)
        control.close()
        _initialise(request, fds, status_end, group)
    os.close(status_end)
    for fd in fds:
        os.close(fd)
    watch = keeper.Watch(control, request, init, status, group)
    report = watch.run()
    if left := keeper.end(request, init, group):
        return {"error": left}
    return report


# ---- init ------------------------------------------------------------------------------------------------------------


def _initialise(request: Request, fds: list[int], status: int, group: Group | None) -> NoReturn:
    """First process inside: build the jail, start the candidate, reap until it ends."""
    try:
        if "lifeline" not in request["opened"]:
            system.prctl(system.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        if group is not None:
            group.enter()
        if request["rung"] in NAMESPACED:
            jail.build(request)
        system.prctl(system.PR_SET_DUMPABLE, 0)
        os.write(status, b"started\n")
        candidate = os.fork()
        if candidate == 0:
            _become(request, fds, status)
        os.write(status, b"running\n")
        for fd in fds:
            os.close(fd)
        while True:
            pid, ended = os.wait()
            if pid == candidate:
                used = resource.getrusage(resource.RUSAGE_CHILDREN)
                os.write(status, f"ended {ended} {used.ru_utime + used.ru_stime:.6f} {used.ru_maxrss * 1024}\n".encode())
                os._exit(0)
    except BaseException as error:  # noqa: BLE001 - the last words of a process that has nobody else to tell
        os.write(status, f"setup {type(error).__name__}: {error}".replace("\n", " ").encode() + b"\n")
        os._exit(1)


# ---- the candidate ---------------------------------------------------------------------------------------------------


def _become(request: Request, fds: list[int], status: int) -> NoReturn:
    """Give up every right, then run. Whatever fails before the candidate's own code does is a setup failure."""
    try:
        channel, status = _place(fds, status)
        for which, value in keeper.rlimits(request):
            resource.setrlimit(which, (value, value))
        os.chdir(os.path.join(request["at"] if request["base"] else request["tree"], request["cwd"]))
        argv, extra = _argv(request)
        _drop(request)
        environment = dict(request["env"])
        if channel >= 0:
            environment["EVOLVE_CHANNEL"] = str(channel)
        if "descriptors" not in request["opened"]:
            for fd in extra:
                os.set_inheritable(fd, True)
            os.closerange(len(fds) + len(extra), 1 << 20)
        if argv:
            try:
                os.execvpe(argv[0], argv, environment)
            except OSError as error:
                os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
                os._exit(127 if error.errno == errno.ENOENT else 126)
    except BaseException as error:  # noqa: BLE001 - told to the keeper, then gone
        text = f"setup {type(error).__name__}: {error}".replace("\n", " ") + "\n"
        try:
            os.write(status, text.encode())
        except OSError:
            os.write(2, text.encode())
        os._exit(125)
    worker.serve(request["call"], channel, environment)


def _place(fds: list[int], status: int) -> tuple[int, int]:
    """Put the given descriptors at 0, 1, 2, 3 (the channel) and on. Returns the channel's number, or -1, and the status
    pipe's new one."""
    high = [os.dup2(fd, 200 + i) for i, fd in enumerate(fds)]
    status = os.dup2(status, 250, inheritable=False)
    for i, fd in enumerate(high):
        os.dup2(fd, i)
    return (3 if len(fds) > 3 else -1), status


def _argv(request: Request) -> tuple[list[str], tuple[int, ...]]:
    """The command line, and descriptors it needs beside the usual; empty for a call in this very process."""
    if request["rung"] == "bubblewrap":
        return bubble.wrap(request)
    return (list(request["argv"]) if request.get("call") is None else []), ()


def _drop(request: Request) -> None:
    uid, opened, rung = request["uid"], request["opened"], request["rung"]
    if os.getuid() == 0 and uid != 0 and "uid" not in opened and rung != "bubblewrap":
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    if rung == "userns" and "capabilities" not in opened:
        system.drop_capabilities()
    if rung == "bubblewrap":  # it sets the rest itself, and a set-uid one needs what we would take
        return
    if "no_new_privs" not in opened:
        system.prctl(system.PR_SET_NO_NEW_PRIVS, 1)
    system.prctl(system.PR_SET_DUMPABLE, 1)  # a changed uid clears it, and honest programs read /proc/self
    if rung == "landlock" and "landlock" not in opened:
        own = request["own"]
        inside = [f"/proc/{os.getpid()}"]
        landlock.restrict([*request["binds"], "/proc", *(m["source"] for m in request["mounts"])], [own, *_null()],
                          request["devices"], names=inside if request["devices"] else (),
                          network=request["network"])  # fmt: skip
    if rung != "bare" and "seccomp" not in opened:
        filters.install(policy(request))


def _null() -> tuple[str, ...]:
    return "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"


def policy(request: Request) -> filters.Policy:
    """The system-call filter of a request's rung. Without a network namespace there are no sockets unless the task
    names hosts, and never one that reaches this machine's own services (AF_UNIX): socketpair() stays."""
    jailed = request["rung"] in (*NAMESPACED, "bubblewrap")
    counted = bool(request["group"]) or bool(request["devices"])
    if jailed:
        return filters.Policy(memfd=counted, others=request["rung"] != "native")
    if request["rung"] == "process":
        return filters.Policy(shared=True, others=True, memfd=counted)
    families = (filters.AF_INET, filters.AF_INET6, filters.AF_NETLINK) if request["network"] else ()
    deaf = bool(request["devices"]) and not request["network"]
    return filters.Policy(families, shared=True, others=True, deaf=deaf, memfd=counted)


if __name__ == "__main__":
    main()
