# ruff: noqa: SIM115 - a hostile candidate closes nothing behind it
"""What a hostile candidate does: one function a move. Runs in the sandbox as `attack.py`; standard library only.

A move never says whether it worked: that is looked at from outside (scene.py). What a move returns counts only where it
is a secret that it could not have known.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import signal
import socket
import struct
import sys
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"


def name_self(name):
    libc.prctl(15, name.encode(), 0, 0, 0)


def quietly(move):
    """The answer of a move, or the system's: a refusal is no crash, so that an outcome says something else."""

    def run(facts):
        try:
            return move(facts)
        except OSError as error:
            return f"errno {error.errno}"

    return run


def _call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if result < 0:
        raise OSError(ctypes.get_errno(), "syscall")
    return result


# ---- files and paths -------------------------------------------------------------------------------------------------


def read_secret(facts):
    return open(facts["secret"]).read()


def read_private(facts):
    return open(facts["private"]).read()


def read_answers_next_to_the_grader(facts):
    return open(facts["answers"]).read()


def list_a_folder(facts):
    return " ".join(os.listdir(facts["listed"]))


def read_through_old_root(facts):
    return open("/old" + facts["secret"]).read()


def read_through_root_of_another(facts):
    return open(f"/proc/{facts['twin']}/root{facts['secret']}").read()


def write_outside(facts):
    open(facts["open"] + "/planted", "w").write("x")


def overwrite_a_grader_module(facts):
    open(facts["open"] + "/grader_helper.py", "w").write("GRADE = 'forged'\n")


def plant_sitecustomize(facts):
    open(facts["open"] + "/sitecustomize.py", "w").write("FORGED = True\n")


def poison_a_compile_cache(facts):
    open(facts["open"] + "/cache/kernel.so", "w").write("x")


def plant_a_symlink(facts):
    os.symlink(facts["private"], facts["open"] + "/result.json")


def write_into_a_fifo(facts):
    handle = os.open(facts["open"] + "/fifo", os.O_WRONLY | os.O_NONBLOCK)
    os.write(handle, b"forged")


def talk_to_a_service_socket(facts):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(facts["service"])
        connection.send(b"path")


def leave_in_tmp(facts):
    open("/tmp/" + facts["mark"], "w").write("x")


def leave_in_shm(facts):
    open("/dev/shm/" + facts["mark"], "w").write("x")


def leave_in_home(facts):
    open("/home/candidate/" + facts["mark"], "w").write("x")


def change_the_toolchain(facts):
    open("/usr/" + facts["mark"], "w").write("x")


def change_the_tree_for_the_next(facts):
    open("kept.py", "a").write("changed\n")


# ---- network ---------------------------------------------------------------------------------------------------------


def connect(facts):
    with socket.create_connection(("127.0.0.1", facts["port"]), 1) as connection:
        connection.send(b"tcp")


def connect_v6(facts):
    with socket.create_connection(("::1", facts["port6"]), 1) as connection:
        connection.send(b"tcp6")


def send_datagram(facts):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.sendto(b"udp", ("127.0.0.1", facts["port"]))


def connect_abstract(facts):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("\0" + facts["abstract"])
        connection.send(b"abstract")


def serve_a_port(facts):
    server = socket.create_server(("127.0.0.1", facts["free_port"]))
    server.settimeout(1.0)
    server.accept()[0].send(b"served")
    time.sleep(0.1)


def see_sockets(facts):
    return open("/proc/net/unix").read()[:200000]


# ---- other processes -------------------------------------------------------------------------------------------------


def kill_a_process(facts):
    os.kill(facts["twin"], signal.SIGKILL)


def stop_a_process(facts):
    os.kill(facts["twin"], signal.SIGSTOP)


def kill_everything(facts):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.kill(-1, signal.SIGTERM)


def kill_by_pidfd(facts):
    handle = os.pidfd_open(facts["twin"])
    signal.pidfd_send_signal(handle, signal.SIGKILL)


def lower_limits_of_another(facts):
    resource.prlimit(facts["twin"], resource.RLIMIT_NOFILE, (77, 77))


def renice_another(facts):
    os.setpriority(os.PRIO_PROCESS, facts["twin"], 17)


def pin_another(facts):
    os.sched_setaffinity(facts["twin"], {min(os.sched_getaffinity(0))})


def read_environment_of_another(facts):
    return open(f"/proc/{facts['twin']}/environ", "rb").read().decode("latin-1")


def read_memory_of_another(facts):
    with open(f"/proc/{facts['twin']}/maps") as maps, open(f"/proc/{facts['twin']}/mem", "rb", 0) as memory:
        for line in maps:
            if "[stack]" in line:
                start, end = (int(part, 16) for part in line.split()[0].split("-"))
                memory.seek(start)
                block = memory.read(end - start)
                at = block.find(b"MARKER=")
                return block[at : at + 40].decode("latin-1")
    return ""


def read_open_file_of_another(facts):
    return open(f"/proc/{facts['twin']}/fd/9").read()


def forge_on_anothers_pipe(facts):
    with open(f"/proc/{facts['twin']}/fd/8", "wb", 0) as pipe:
        pipe.write(b"forged")


def read_command_lines(facts):
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found.append(open(f"/proc/{name}/cmdline", "rb").read().decode("latin-1"))
            except OSError:
                continue
    return " ".join(found)[:200000]


def kill_the_keeper(facts):
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(0.2)


# ---- outliving -------------------------------------------------------------------------------------------------------


def _daemon(facts, prepare=lambda: None, seconds=6.0, keep_output=False):
    if os.fork() == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                name_self(facts["mark"])
                prepare()
                if not keep_output:
                    for fd in range(3):
                        os.close(fd)
                time.sleep(seconds)
        finally:
            os._exit(0)
    os.wait()
    time.sleep(0.05)


def leave_a_daemon(facts):
    _daemon(facts)


def leave_a_deaf_daemon(facts):
    def deaf():
        for number in range(1, 32):
            if number not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(number, signal.SIG_IGN)

    _daemon(facts, deaf)


def leave_a_daemon_on_stdout(facts):
    _daemon(facts, keep_output=True)


def leave_a_subreaper(facts):
    def reap():
        libc.prctl(36, 1, 0, 0, 0)
        if os.fork() == 0:
            name_self(facts["mark"])
            time.sleep(6)
            os._exit(0)

    _daemon(facts, reap)


def leave_a_stopped_daemon(facts):
    if os.fork() == 0:
        name_self(facts["mark"])
        os.setsid()
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    time.sleep(0.05)


def leave_a_hopping_daemon(facts):
    """Forks anew every few milliseconds, so that whoever kills by a list of processes is always too late."""

    def hop():
        deadline = time.monotonic() + 6
        while time.monotonic() < deadline:
            if os.fork():
                os._exit(0)
            time.sleep(0.002)

    _daemon(facts, hop)


def leave_a_daemon_by_crashing(facts):
    _daemon(facts)
    os.kill(os.getpid(), signal.SIGSEGV)


def leave_a_thread_behind(facts):
    threading.Thread(target=time.sleep, args=(6,), daemon=True).start()
    name_self(facts["mark"])
    libc.syscall(60 if X86 else 93, 0)  # only this thread exits; the process does not


def hang(facts):
    name_self(facts["mark"])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(1)


def survive_the_supervisor(facts):
    name_self(facts["mark"])
    time.sleep(6)


# ---- memory of the machine's kernel that outlives a process ----------------------------------------------------------


def read_shared_segment(facts):
    segment = libc.shmget(facts["shm_key"], 64, 0o666)
    if segment < 0:
        raise OSError(ctypes.get_errno(), "shmget")
    libc.shmat.restype = ctypes.c_void_p
    at = libc.shmat(segment, None, 0)
    return ctypes.string_at(at, 32).decode("latin-1")


def write_shared_segment(facts):
    segment = libc.shmget(facts["shm_key"], 64, 0o666)
    if segment < 0:
        raise OSError(ctypes.get_errno(), "shmget")
    libc.shmat.restype = ctypes.c_void_p
    ctypes.memmove(libc.shmat(segment, None, 0), b"forged\0", 7)


def leave_a_shared_segment(facts):
    if libc.shmget(facts["left_key"], 4096, 0o1666) < 0:
        raise OSError(ctypes.get_errno(), "shmget")


def leave_a_message_queue(facts):
    if libc.msgget(facts["left_key"], 0o1666) < 0:
        raise OSError(ctypes.get_errno(), "msgget")


def leave_a_semaphore(facts):
    if libc.semget(facts["left_key"], 1, 0o1666) < 0:
        raise OSError(ctypes.get_errno(), "semget")


def leave_a_key(facts):
    _call(248 if X86 else 217, b"user", facts["mark"].encode(), b"left behind", 11, -4)
    name_self(facts["mark"])
    time.sleep(0.3)


def rename_the_machine(facts):
    _call(170 if X86 else 161, facts["mark"].encode(), len(facts["mark"]))


# ---- the kernel's surface: each holds what it got for a moment, to be seen -------------------------------------------


def _hold(facts, seconds=0.35):
    name_self(facts["mark"])
    time.sleep(seconds)


def make_a_user_namespace(facts):
    if libc.unshare(0x10000000) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    _hold(facts)


def clone_into_a_user_namespace(facts):
    child = libc.syscall(56 if X86 else 220, ctypes.c_long(0x10000000 | signal.SIGCHLD), 0, 0, 0, 0)
    if child == 0:
        _hold(facts)
        os._exit(0)
    if child < 0:
        raise OSError(ctypes.get_errno(), "clone")
    os.waitpid(child, 0)


def clone3_into_a_user_namespace(facts):
    arguments = struct.pack("8Q", 0x10000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    child = libc.syscall(435, arguments, len(arguments))
    if child == 0:
        _hold(facts)
        os._exit(0)
    if child < 0:
        raise OSError(ctypes.get_errno(), "clone3")
    os.waitpid(child, 0)


def open_io_uring(facts):
    _call(425, 4, ctypes.create_string_buffer(120))
    _hold(facts)


def open_userfaultfd(facts):
    _call(323 if X86 else 282, 1)
    _hold(facts)


def open_perf_event(facts):
    attributes = struct.pack("IIQQQQQ", 1, 112, 9, 0, 0, 0, 1 << 5 | 1 << 6) + bytes(64)
    _call(298 if X86 else 241, attributes, 0, -1, -1, 0)
    _hold(facts)


def open_secret_memory(facts):
    _call(447, 0)
    _hold(facts)


def open_fanotify(facts):
    _call(300 if X86 else 262, 0x200, 0)
    _hold(facts)


def use_the_other_system_call_table(facts):
    """int 0x80: the 32-bit table, whose numbers a filter for 64 bits does not know."""
    code = bytes([0x53, 0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0x5B, 0xC3])
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    function()
    return "survived"


def raise_own_limits(facts):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard + 50, hard + 50))
    _open_many(hard + 40)
    _hold(facts)


def ask_for_a_core_handler(facts):
    """With a limit of 0 a crash still starts the machine's handler of core dumps, if it has one; with 1 it does not."""
    nothing = struct.pack("QQ", 0, 0)
    _call(302 if X86 else 261, 0, 4, nothing, 0)
    _call(160 if X86 else 164, 4, nothing)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _hold(facts)


def become_root(facts):
    os.setuid(0)
    _hold(facts)


def trace_a_process(facts):
    if libc.ptrace(16, facts["twin"], None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    _hold(facts)


# ---- limits ----------------------------------------------------------------------------------------------------------


def _open_many(count):
    return [os.open("/dev/null", os.O_RDONLY) for _ in range(count)]


def open_many_files(facts):
    handles = []
    try:
        while len(handles) < facts["files"] + 60:
            handles.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    _hold(facts)


def fork_bomb(facts):
    children = []
    try:
        while len(children) < facts["processes"] + 60:
            child = os.fork()
            if child == 0:
                time.sleep(3)
                os._exit(0)
            children.append(child)
    except OSError:
        pass
    _hold(facts, 0.5)


def thread_bomb(facts):
    threading.stack_size(65536)
    try:
        for _ in range(facts["processes"] + 60):
            threading.Thread(target=time.sleep, args=(2,), daemon=True).start()
    except RuntimeError:
        pass
    _hold(facts, 0.5)


def _touch(block):
    block[::4096] = b"x" * len(block[::4096])


def memory_by_one(facts):
    block = bytearray(2 * facts["memory"])
    _touch(block)
    _hold(facts, 0.5)


def memory_by_many(facts):
    for _ in range(6):
        if os.fork() == 0:
            block = bytearray(facts["memory"] // 2)
            _touch(block)
            time.sleep(1.0)
            os._exit(0)
    _hold(facts, 0.8)


def memory_shared(facts):
    blocks = []
    for _ in range(4):
        block = mmap.mmap(-1, facts["memory"] // 2)
        for at in range(0, len(block), 4096):
            block[at] = 1
        blocks.append(block)
    _hold(facts, 0.5)


def memory_in_unmapped_files(facts):
    """memfd pages that no process maps: they belong to no one's resident size."""
    handles = []
    for _ in range(4):
        handle = os.memfd_create("hidden")
        for _ in range(facts["memory"] // 2 >> 20):
            os.write(handle, bytes(1 << 20))
        handles.append(handle)
    _hold(facts, 0.5)


def fill_the_disk(facts):
    with open(facts.get("fill", "fill"), "wb", 0) as file:
        for _ in range(4 * facts["disk"] >> 20):
            file.write(b"x" * (1 << 20))
    _hold(facts, 0.5)


def fill_by_many_files(facts):
    for number in range(8):
        with open(f"fill{number}", "wb", 0) as file:
            file.write(b"x" * (facts["disk"] // 2))
    _hold(facts, 0.5)


def fill_the_inodes(facts):
    os.mkdir("many")
    for number in range(4 * facts["inodes"]):
        open(f"many/{number}", "w").close()
    _hold(facts, 0.5)


def sparse_file(facts):
    with open("sparse", "wb") as file:
        file.truncate(facts["disk"] * 64)
    _hold(facts, 0.5)


def flood_stdout(facts):
    block = b"x" * 65536
    while True:
        os.write(1, block)


def flood_stderr(facts):
    block = b"x" * 65536
    while True:
        os.write(2, block)


def spin(facts):
    for _ in range(3):
        if os.fork() == 0:
            break
    name_self(facts["mark"])
    while True:
        pass


# ---- our own descriptors ---------------------------------------------------------------------------------------------


def forge_the_end(facts):
    """Tell the keeper, on its own pipe if it was left open, that all went well; then fail."""
    _on_pipes(b"ended 0 0.001 1\n")
    os._exit(3)


def blame_the_machine(facts):
    _on_pipes(b"setup forged\n")
    os._exit(3)


def _on_pipes(text):
    for fd in range(4, 1024):
        try:
            os.write(fd, text)
        except OSError:
            continue


def blame_by_killing_init(facts):
    for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM):
        os.kill(1 if os.getpid() < 100 else os.getppid(), number)


for _name, _move in list(globals().items()):
    if not _name.startswith("_") and callable(_move) and getattr(_move, "__module__", "") == __name__ and _name not in (
        "quietly", "name_self", "libc",
    ):
        globals()[_name] = quietly(_move)
del _name, _move, sys
