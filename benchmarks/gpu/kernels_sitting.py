"""Several of the kernel scripts in one process, so that the jail's clean parents and the referee start once (15 s on an H100).

    python3 kernels_sitting.py timing:110 triton:85:only=softmax,swiglu hostile:30 --out $O [--part 0/2] [--resume FOLDER]

Each is NAME:SECONDS[:option=value...]. --resume: a folder of earlier raw lines. A script that fails does not end the others.
"""

from __future__ import annotations

import importlib
import multiprocessing
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import kernels_common as common


class Kept:
    """Somebody else's jail: not closed by the scripts."""

    def __init__(self, ward: Any) -> None:
        self.ward = ward

    def close(self) -> None:
        pass


def main() -> None:
    began = time.monotonic()
    wanted = [word for word in sys.argv[1:] if ":" in word and not word.startswith("--")]
    rest = [word for word in sys.argv[1:] if word not in wanted]
    sys.argv = [sys.argv[0], *rest]
    args = common.arguments("a sitting")
    multiprocessing.get_context("forkserver").set_forkserver_preload(["torch", "triton"])
    ward, referee = common.open_referee(args)
    common.SHARED.append((Kept(ward), referee))
    kept = [word for word in rest if not word.startswith("--resume")]
    folder = args.resume
    kept = [word for word in kept if word != folder or not folder]
    for word in wanted:
        name, seconds, *options = word.split(":")
        extra = [part for option in options for part in (f"--{option.partition('=')[0]}", option.partition("=")[2])]
        earlier = Path(folder) / f"kernels_{name}.jsonl" if folder else None
        if earlier is not None and earlier.is_file():
            extra += ["--resume", str(earlier)]
        sys.argv = [f"kernels_{name}.py", *kept, "--budget", seconds, *extra]
        print(f"== {name} at {time.monotonic() - began:.0f} s", flush=True)
        try:
            importlib.import_module(f"kernels_{name}").main()
        except Exception:  # noqa: BLE001 - the other scripts of the sitting still run
            traceback.print_exc()
    print(f"== end at {time.monotonic() - began:.0f} s", flush=True)
    referee.close()
    ward.close()


if __name__ == "__main__":
    main()
