"""Arithmetic of `expr` axes, walked over the syntax tree: names, whole numbers, + - * // % ** and min, max, ceil_div."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from evolve.tasks.errors import UsageError

_LIMIT = 1 << 48


def evaluate(expression: str, axes: Mapping[str, int]) -> int:
    """Value of `expression` over known axes. Raises UsageError for anything but whole-number arithmetic on them."""
    try:
        tree = ast.parse(expression, mode="eval")
    except SyntaxError as error:
        raise UsageError(f"axis expression {expression!r} is no arithmetic: {error.msg}") from error
    value = _walk(tree.body, axes, expression)
    if value != int(value):
        raise UsageError(f"axis expression {expression!r} gives {value}, not a whole number")
    return int(value)


def names(expression: str) -> set[str]:
    """Axis names an expression reads."""
    return {n.id for n in ast.walk(ast.parse(expression, mode="eval")) if isinstance(n, ast.Name)} - {
        "min",
        "max",
        "ceil_div",
    }


def _walk(node: ast.expr, axes: Mapping[str, int], text: str) -> float:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.Name(id=name):
            if name not in axes:
                raise UsageError(f"axis expression {text!r} reads {name!r}, which is no axis ({', '.join(axes)})")
            return axes[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_walk(operand, axes, text)
        case ast.BinOp(left=left, op=op, right=right):
            return _binary(op, _walk(left, axes, text), _walk(right, axes, text), text)
        case ast.Call(func=ast.Name(id="min" | "max" | "ceil_div" as name), args=args, keywords=[]) if args:
            values = [_walk(arg, axes, text) for arg in args]
            if name == "ceil_div":
                return -(-values[0] // values[1])
            return min(values) if name == "min" else max(values)
    raise UsageError(
        f"axis expression {text!r} holds {type(node).__name__}; only whole-number arithmetic on axes is read"
    )


def _binary(op: ast.operator, left: float, right: float, text: str) -> float:
    if isinstance(op, ast.FloorDiv | ast.Mod | ast.Div) and right == 0:
        raise UsageError(f"axis expression {text!r} divides by zero")
    match op:
        case ast.Add():
            value = left + right
        case ast.Sub():
            value = left - right
        case ast.Mult():
            value = left * right
        case ast.FloorDiv():
            value = left // right
        case ast.Div():
            value = left / right
        case ast.Mod():
            value = left % right
        case ast.Pow() if 0 <= right <= 32 and abs(left) <= 4096:
            value = left**right
        case _:
            raise UsageError(f"axis expression {text!r}: {type(op).__name__} of {left} and {right} is not read")
    if abs(value) > _LIMIT:
        raise UsageError(f"axis expression {text!r} gives {value}, more than {_LIMIT}")
    return value
