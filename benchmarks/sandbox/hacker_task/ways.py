# ruff: noqa: BLE001, SIM115 - appended to tests/attacks/moves.py; a hostile candidate closes nothing behind it
import ctypes
import mmap
import os
import resource
import signal
import socket
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)

# ---- ways to make a move, and forgeries of the answer ------------------------------------------------------------------


def perform(plan, facts):
    """The last thing that any move returned."""
    answer = None
    for way, name in plan:
        try:
            got = WAYS[way](globals()[name], facts)
        except Exception as error:
            got = f"{type(error).__name__}: {error}"
        answer = got if got is not None else answer
    return answer


def _fork(move, facts):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, str(move(facts)).encode()[:4000])
        finally:
            os._exit(0)
    os.close(write)
    answer = os.read(read, 4000).decode("latin-1")
    os.waitpid(child, 0)
    return answer


def _orphan(move, facts):
    if os.fork() == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                libc.prctl(15, facts["mark"].encode(), 0, 0, 0)
                move(facts)
                time.sleep(3)
        finally:
            os._exit(0)
    os.wait()
    time.sleep(0.1)


def _thread(move, facts):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(move(facts)))
    thread.start()
    thread.join(3)
    return answers[0] if answers else None


def _at_exit(move, facts):
    import atexit

    atexit.register(move, facts)


def _on_alarm(move, facts):
    answers = []
    signal.signal(signal.SIGALRM, lambda *_: answers.append(move(facts)))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    time.sleep(0.05)
    return answers[0] if answers else None


def _many(move, facts):
    return [move(facts) for _ in range(20)][-1]


def _starved(move, facts):
    """With no file, process or memory to spare: what of ours fails then?"""
    try:
        for _ in range(4):
            resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))
    except (OSError, ValueError):
        pass
    return move(facts)


def _race(move, facts):
    threads = [threading.Thread(target=move, args=(facts,), daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(1)


WAYS = {"call": lambda move, facts: move(facts), "fork": _fork, "orphan": _orphan, "thread": _thread, "exit": _at_exit,
        "alarm": _on_alarm, "many": _many, "starved": _starved, "race": _race}


def _frame(text, body=b""):
    return b"EVOLVE\0\1" + len(text).to_bytes(8, "little") + text + len(body).to_bytes(8, "little") + body


def _say(data, end=True):
    os.write(int(os.environ["EVOLVE_CHANNEL"]), data)
    if end:
        os._exit(0)


def frame_of_true(facts):
    _say(_frame(b'{"value":true}'))


def frame_with_a_score(facts):
    _say(_frame(b'{"value":1,"score":1.0,"forged":1.0}'))


def frame_with_metrics(facts):
    _say(_frame(b'{"score":1.0}'))


def frame_of_infinity(facts):
    _say(_frame(b'{"value":1e999}'))


def frame_twice(facts):
    _say(_frame(b'{"value":1}') * 2)


def frame_with_a_body(facts):
    _say(_frame(b'{"value":1}', b"1.0"))


def frame_of_deep_json(facts):
    _say(_frame(b'{"value":' + b"[" * 20000 + b"]" * 20000 + b"}"))


def frame_of_a_huge_number(facts):
    _say(_frame(b'{"value":' + b"9" * 300 + b"}"))


def frame_of_many_keys(facts):
    _say(_frame(b'{"value":{' + b",".join(b'"k%d":1' % i for i in range(60000)) + b"}}"))


def frame_of_many_lists(facts):
    _say(_frame(b'{"value":[' + b",".join([b"[]"] * 500000) + b"]}"))


def frame_that_lies_about_its_size(facts):
    _say(b"EVOLVE\0\1" + (1 << 63).to_bytes(8, "little") + b"{}")


def frame_before_ours(facts):
    _say(_frame(b'{"value":1}'), end=False)


def frame_of_surrogates(facts):
    _say(_frame(b'{"value":"\\ud800\\udfff\\u0000"}'))


def frame_of_bad_unicode(facts):
    _say(_frame(b'{"value":"\xff\xfe"}'))


def _list(value):
    return str(value)[:3000]


def look_around(facts):
    found = []
    for place in ("/", "/proc", "/dev", "/tmp", "/dev/shm", "/run", "/var", "/etc", "/root", "/home", "/old", ".", ".."):
        try:
            found.append((place, os.listdir(place)))
        except OSError:
            continue
    return _list(found)


def look_at_referee(facts):
    found = []
    for pid in (1, os.getppid(), os.getpid()):
        for name in ("environ", "cmdline", "maps", "mountinfo", "cgroup", "stat", "attr/current"):
            try:
                found.append(open(f"/proc/{pid}/{name}", "rb").read()[:2000])
            except OSError:
                continue
    return _list(found)


def write_into_proc(facts):
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/1/oom_score_adj", "/proc/self/oom_score_adj",
                 "/proc/sys/kernel/hostname", "/proc/self/uid_map", "/proc/1/mem", "/proc/self/attr/current"):
        try:
            with open(path, "w") as file:
                file.write("-1000")
        except OSError:
            continue


def inherit_descriptors(facts):
    found = []
    for fd in range(3, 1024):
        try:
            found.append((fd, os.readlink(f"/proc/self/fd/{fd}")))
            os.write(fd, b"\0")
        except OSError:
            continue
    return _list(found)


def message_the_keeper(facts):
    for fd in range(4, 300):
        try:
            socket.socket(fileno=os.dup(fd)).send(b'{"code":0,"wall":0,"cpu":0,"peak":0}')
        except OSError:
            continue


def reach_pidfds(facts):
    for pid in range(1, 40):
        try:
            handle = os.pidfd_open(pid)
            libc.syscall(438, handle, 0, 0)
            signal.pidfd_send_signal(handle, signal.SIGSTOP)
        except OSError:
            continue


def leave_inotify_and_locks(facts):
    import fcntl

    for place in ("/usr/bin/python3", "/bin/sh", "/proc/self/exe", "."):
        try:
            fcntl.flock(os.open(place, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
    time.sleep(0.1)


def confuse_by_name(facts):
    libc.prctl(15, b") R 1 1 1 (\n", 0, 0, 0)
    time.sleep(0.3)


def stop_self(facts):
    os.kill(os.getpid(), signal.SIGSTOP)


def fill_pipe_kernel_memory(facts):
    pipes = []
    try:
        for _ in range(200):
            read, write = os.pipe()
            os.set_blocking(write, False)
            pipes.append((read, write))
            os.write(write, bytes(65536))
    except OSError:
        pass
    time.sleep(0.3)


def leave_mappings(facts):
    memory = mmap.mmap(-1, 8 << 20)
    memory[: len(facts["mark"])] = facts["mark"].encode()


def eat_the_clock(facts):
    """Makes init and the keeper wait: a child in uninterruptible sleep by vfork."""
    libc.vfork.restype = ctypes.c_int
    if os.fork() == 0:
        for _ in range(10):
            if os.fork() == 0:
                signal.pause()
        signal.pause()
