"""The static screen (D11, N9): what a solution may not contain, by syntax tree and never by words in comments.

BLOCK findings end the evaluation before anything runs (kind "contract", or "flags"). NOTE findings are facts for a reader.
What could harm a shared card (clocks, managed memory, multicast, other processes' memory) is refused in any language.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from evolve.evaluators.kernels.solution import Solution, refused_flags


@dataclass(frozen=True, slots=True)
class Finding:
    """level "block" or "note"; `kind` of score.STATUSES; `what` names the construct."""

    level: str
    line: int
    what: str
    kind: str = "contract"


HARMFUL = re.compile(
    r"cudaMallocManaged|cuMemAllocManaged|nvmlDeviceSet\w*|nvmlDevice\w*Clocks?\w*|nvidia-smi|cuMulticast\w*|ptrace|process_vm_(?:read|write)v"
    r"|cudaDeviceReset|cuDevicePrimaryCtxReset|cudaIpc\w+|cuIpc\w+|cudaLimitPersistingL2CacheSize"
)
FORBIDDEN_IMPORTS = {
    "ctypes": "calls into libraries behind torch's back",
    "gc": "walks other objects in memory",
    "subprocess": "starts processes",
    "socket": "opens connections",
    "multiprocessing": "starts processes",
    "inspect": "reads its caller's frames",
    "signal": "changes how the process ends",
    "pynvml": "reads or sets the card's state",
    "cupti": "reaches into the profiler",
    "requests": "opens connections",
    "urllib": "opens connections",
    "http": "opens connections",
    "shutil": "works on files",
    "pickle": "loads code from data",
    "importlib": "loads other code",
    "builtins": "replaces built-ins",
    "faulthandler": "reaches into the process",
    "mmap": "maps memory",
    "resource": "changes limits",
    "tempfile": "writes files",
    "pathlib": "works on files",
    "__main__": "reads the harness",
    "code": "runs other code",
    "sys": "reaches into loaded modules",
}
FORBIDDEN_CALLS = {
    "open",
    "exec",
    "eval",
    "compile",
    "__import__",
    "globals",
    "vars",
    "breakpoint",
    "input",
    "memoryview",
}
FORBIDDEN_ATTRIBUTES = {
    "_getframe",
    "f_back",
    "f_globals",
    "f_locals",
    "gi_frame",
    "tb_frame",
    "__code__",
    "__globals__",
    "__closure__",
    "__subclasses__",
    "__builtins__",
    "get_objects",
    "get_referrers",
    "_current_frames",
    "modules",
    "__dict__",
    "__loader__",
    "__spec__",
    "settrace",
    "setprofile",
    "_exit",
    "fork",
}
OS_ALLOWED = {"environ", "path", "cpu_count", "getenv"}
PATCHABLE = {"torch", "triton", "tl", "time", "math", "F", "random", "statistics", "os", "np", "numpy"}
NOTED = {
    "threading": "threads",
    "concurrent": "threads",
    "Stream": "streams",
    "CUDAGraph": "graphs",
    "lru_cache": "a cache",
    "data_ptr": "addresses",
}


def screen(solution: Solution) -> list[Finding]:
    """All findings on a solution, blocks first."""
    found: list[Finding] = []
    for flag in refused_flags(solution.flags):
        found.append(Finding("block", 0, f"compile flag {flag!r} is not on the allow-list", "flags"))
    for path, text in sorted(solution.sources.items()):
        code = text
        if path.endswith(".py"):
            try:
                tree = ast.parse(text)
            except (SyntaxError, ValueError, RecursionError) as error:
                line = getattr(error, "lineno", 0) or 0
                found.append(Finding("block", line, f"{path} does not parse: {getattr(error, 'msg', error)}", "parse"))
                continue
            visitor = _Visitor()
            visitor.visit(tree)
            found += visitor.found
            code = "\n".join(
                n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)
            )
            code += "\n" + "\n".join(n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute))
        else:
            code = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)
            for include in re.findall(r'#\s*include\s*[<"]([^>"]+)[>"]', code):
                if re.search(r"unistd|sys/|dlfcn|pthread|fstream|filesystem|cupti|nvml|signal\.h|spawn", include):
                    found.append(Finding("block", 0, f"{path} includes {include}"))
        for word in sorted(set(HARMFUL.findall(code))):
            found.append(Finding("block", 0, f"{path} names {word}, which could disturb the card or other processes"))
    return sorted(found, key=lambda f: (f.level != "block", f.line))


class _Visitor(ast.NodeVisitor):
    def __init__(self) -> None:
        self.found: list[Finding] = []

    def _block(self, node: ast.AST, what: str) -> None:
        self.found.append(Finding("block", getattr(node, "lineno", 0), what))

    def _import(self, node: ast.AST, module: str) -> None:
        top = module.partition(".")[0]
        if top in FORBIDDEN_IMPORTS:
            self._block(node, f"import of {top}, which {FORBIDDEN_IMPORTS[top]}")
        if top in NOTED:
            self.found.append(Finding("note", getattr(node, "lineno", 0), f"uses {NOTED[top]}"))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._import(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self._import(node, node.module or "")
        if (node.module or "").partition(".")[0] == "os":
            for alias in node.names:
                if alias.name not in OS_ALLOWED:
                    self._block(node, f"os.{alias.name}")

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
            self._block(node, f"call of {node.func.id}()")
        if isinstance(node.func, ast.Name) and node.func.id in ("setattr", "delattr"):
            target = node.args[0] if node.args else None
            if isinstance(target, ast.Name | ast.Attribute) and _root(target) in PATCHABLE:
                self._block(node, f"{node.func.id}() on {_root(target)}")
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in FORBIDDEN_ATTRIBUTES:
            self._block(node, f"attribute {node.attr}")
        elif _root(node) == "os" and isinstance(node.value, ast.Name) and node.attr not in OS_ALLOWED:
            self._block(node, f"os.{node.attr}")
        if node.attr in NOTED:
            self.found.append(Finding("note", node.lineno, f"uses {NOTED[node.attr]}"))
        self.generic_visit(node)

    def _assigned(self, target: ast.expr, node: ast.AST) -> None:
        if isinstance(target, ast.Attribute) and _root(target) in PATCHABLE and not _flag(target):
            self._block(node, f"assignment to {ast.unparse(target)}")
        if isinstance(target, ast.Tuple | ast.List):
            for item in target.elts:
                self._assigned(item, node)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._assigned(target, node)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._assigned(node.target, node)
        self.generic_visit(node)


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _flag(target: ast.Attribute) -> bool:
    """torch.backends.* flags may be set: N7 puts them back and D10 judges by the error they cause."""
    return ast.unparse(target).startswith(("torch.backends.", "torch._dynamo.config.", "torch._inductor.config."))
