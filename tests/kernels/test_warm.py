"""The launcher's warm start: a real compilation for a GPU that need not be there, in a process that forks afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.support import require

require("torch")
pytest.importorskip("triton")

PROGRAM = """
import json, os, sys, torch
os.environ["TRITON_CACHE_DIR"] = "before"
from evolve.evaluators.kernels import warm
failed = warm.warm()
read, write = os.pipe()
child = os.fork()
if child == 0:
    import triton.runtime.cache as cache
    os.environ["TRITON_CACHE_DIR"] = sys.argv[1]
    found = {"bad": torch.cuda._is_in_bad_fork(), "kernel": len(warm.compiled().asm["cubin"])}
    os.write(write, json.dumps(found).encode())
    os._exit(0)
os.waitpid(child, 0)
print(json.dumps({"failed": failed, "cache": os.environ["TRITON_CACHE_DIR"], "fork": json.loads(os.read(read, 4096))}))
"""


def test_a_fork_of_the_warmed_launcher_compiles_and_may_use_a_gpu(tmp_path):
    """Kills: a warm start that touches CUDA, whose forks could use no GPU, and one that leaves its cache behind."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert "compiler" not in found["failed"], "Triton's compiler could not be warmed"
    assert found["cache"] == "before", "the worker's own cache setting was changed"
    assert found["fork"]["bad"] is False and found["fork"]["kernel"] > 500
