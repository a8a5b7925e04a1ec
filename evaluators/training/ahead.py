"""What the sandbox's launcher imports before it forks trainers: the compiler's front end, some two seconds of imports.

Importing it would start torch's pool of compiler processes there, with a thread, which no forking process may have; a
trainer starts its own (harness.py). Nothing here touches a GPU.
"""

from __future__ import annotations

import os

_QUIET = {"TORCH_WARM_POOL": "0", "TORCH_TNT_IN_USE": "1"}
"""Either one keeps torch from starting the pool at import (the second one in older releases too)."""

_before = {name: os.environ.get(name) for name in _QUIET}
os.environ.update(_QUIET)
try:
    import torch._inductor.compile_fx  # noqa: F401
finally:
    for _name, _value in _before.items():
        if _value is None:
            del os.environ[_name]
        else:
            os.environ[_name] = _value
