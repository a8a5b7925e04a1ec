"""What machine this is: for fingerprints in evidence, and for the hardware class of an epoch."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import shutil
import subprocess


@functools.cache
def machine() -> dict[str, object]:
    """CPU model and count, memory, kernel, Python, GPUs with driver. Values are plain JSON."""
    return {
        "cpu": _cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "gpus": _gpus(),
    }


def machine_fingerprint() -> str:
    """16 hex digits naming this machine's hardware and system software."""
    return hashlib.sha256(json.dumps(machine(), sort_keys=True).encode()).hexdigest()[:16]


def hardware_class() -> str:
    """GPU model and count where there is one, else the CPU model: what an epoch's scores are comparable within."""
    gpus = _gpus()
    return f"{len(gpus)} x {gpus[0]['name']}" if gpus else _cpu_model()


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith(("model name", "Model")):
                    return line.partition(":")[2].strip()
    except OSError:
        return platform.processor() or platform.machine()
    return platform.machine()


@functools.cache
def _gpus() -> tuple[dict[str, str], ...]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    query = [tool, "--query-gpu=name,uuid,driver_version", "--format=csv,noheader"]
    found = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    rows = [line.split(", ") for line in found.stdout.splitlines()] if found.returncode == 0 else []
    return tuple({"name": row[0], "uuid": row[1], "driver": row[2]} for row in rows if len(row) == 3)
