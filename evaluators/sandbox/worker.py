"""Inside the jail: import a file of the candidate's, call one function, send one frame. Standard library only.

The candidate can do to this process whatever it likes; what comes out is a claim, and the referee treats it so.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Mapping
from typing import Any, NoReturn

MAGIC = b"EVOLVE\x00\x01"


def serve(call: Mapping[str, Any], channel: int, environment: Mapping[str, str]) -> NoReturn:
    """Call `call["target"]` ("program.py:function") with `call["args"]`, send {"value": ...}, exit.

    Where `call["harness"]` ("package.module:function") is set instead, that function of ours gets the channel's
    descriptor and the arguments, and speaks for itself.
    """
    os.environ.clear()
    os.environ.update(environment)
    try:
        if harness := call.get("harness"):
            module, _, name = harness.partition(":")
            getattr(importlib.import_module(module), name)(channel, *call["args"])
        else:
            _send(channel, load(call["target"])(*call["args"]))
    except SystemExit as error:
        _leave(error.code if isinstance(error.code, int) else 0 if error.code is None else 1)
    except BaseException:  # noqa: BLE001 - the candidate's failure, told on its stderr
        _tell()
        _leave(1)
    _leave(0)


def load(target: str) -> Any:
    """The function `"program.py:function"` of the candidate's, whose file is imported as a top-level module.

    Raises ImportError, AttributeError, and whatever the file raises.
    """
    path, _, name = target.partition(":")
    folder = os.path.dirname(os.path.abspath(path))
    for entry in (os.getcwd(), folder):
        if entry not in sys.path:
            sys.path.insert(0, entry)
    module_name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    sys.argv = [path]
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise AttributeError(f"{path} has no function {name!r}")
    return function


def _send(channel: int, value: Any) -> None:
    text = json.dumps({"value": value}, separators=(",", ":"), allow_nan=False, default=_plain).encode()
    frame = MAGIC + len(text).to_bytes(8, "little") + text + bytes(8)
    view = memoryview(frame)
    while view:
        view = view[os.write(channel, view) :]


def _plain(value: Any) -> Any:
    """numpy scalars and arrays, sets and the like."""
    for name in ("tolist", "item"):
        if hasattr(value, name):
            return getattr(value, name)()
    if isinstance(value, set | frozenset | range):
        return list(value)
    raise TypeError(f"a {type(value).__name__} cannot cross; return numbers, strings, lists or objects")


def _tell() -> None:
    try:
        sys.stdout.flush()
        traceback.print_exc()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 - a candidate may have replaced stderr by something that raises
        os.write(2, b"an exception, and printing it failed\n")


def _leave(code: int) -> NoReturn:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 - as above
        os.write(2, b"flushing the output failed\n")
    os._exit(code & 0xFF)


def main() -> None:
    """Started with an interpreter of its own, where no clean parent can fork into the jail (bubblewrap)."""
    serve(json.loads(sys.argv[1]), int(os.environ.get("EVOLVE_CHANNEL", "-1")), dict(os.environ))
