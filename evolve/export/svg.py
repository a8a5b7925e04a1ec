"""Curves as SVG text, for documents that must stand alone. Every string is escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

Point = tuple[float, float]

LEFT, RIGHT, TOP, BOTTOM = 64.0, 16.0, 12.0, 40.0


def step_chart(
    series: Sequence[tuple[str, str, Sequence[Point]]],
    *,
    x_label: str,
    y_label: str,
    cloud: Sequence[Point] = (),
    bands: Sequence[tuple[float, float, float]] = (),
    width: int = 760,
    height: int = 320,
) -> str:
    """Steps that hold until the next point.

    series: (name, colour, points in order of x). cloud: points behind. bands: (x, low, high) of the first series, held
    until the next x.
    """
    xs = [x for _, _, points in series for x, _ in points] + [x for x, _ in cloud] + [0.0]
    ys = [y for _, _, points in series for _, y in points] + [v for _, low, high in bands for v in (low, high)]
    if not ys:
        return ""
    x1, (y0, y1) = max(xs) or 1.0, _room(min(ys), max(ys))

    def px(x: float) -> float:
        return LEFT + x / x1 * (width - LEFT - RIGHT)

    def py(y: float) -> float:
        return height - BOTTOM - (min(max(y, y0), y1) - y0) / (y1 - y0) * (height - TOP - BOTTOM)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(y_label)} against {escape(x_label)}" font-family="system-ui, sans-serif" font-size="11">'
    ]
    for tick in ticks(y0, y1, 5):
        out.append(f'<line x1="{LEFT}" x2="{width - RIGHT}" y1="{py(tick):.1f}" y2="{py(tick):.1f}" stroke="#dfe3e8"/>')
        out.append(f'<text x="{LEFT - 7}" y="{py(tick) + 4:.1f}" text-anchor="end" fill="#59636e">{tick:.5g}</text>')
    for tick in ticks(0, x1, 6):
        out.append(f'<text x="{px(tick):.1f}" y="{height - BOTTOM + 16}" text-anchor="middle" fill="#59636e">{tick:g}</text>')
    bottom = height - BOTTOM
    out.append(f'<line x1="{LEFT}" x2="{width - RIGHT}" y1="{bottom}" y2="{bottom}" stroke="#59636e"/>')
    out += [f'<circle cx="{px(x):.1f}" cy="{py(y):.1f}" r="1.6" fill="#6f89a8" opacity="0.5"/>' for x, y in cloud if y0 <= y <= y1]
    for k, (x, low, high) in enumerate(bands):
        end = bands[k + 1][0] if k + 1 < len(bands) else x1
        box = f'x="{px(x):.1f}" width="{max(px(end) - px(x), 0.5):.1f}" y="{py(high):.1f}" height="{max(py(low) - py(high), 0):.1f}"'
        out.append(f'<rect {box} fill="#1f57b0" opacity="0.15"/>')
    for name, colour, points in series:
        if points:
            out.append(_steps(points, px, py, x1, colour, dashed="control" in name))
    out.append(f'<text x="{width / 2}" y="{height - 6}" text-anchor="middle" fill="#59636e">{escape(x_label)}</text>')
    middle = (height - BOTTOM) / 2
    out.append(f'<text transform="translate(13 {middle}) rotate(-90)" text-anchor="middle" fill="#59636e">{escape(y_label)}</text>')
    out.append("</svg>")
    keys = "".join(f'<span class="key"><i style="background:{colour}"></i>{escape(name)}</span>' for name, colour, _ in series)
    return f'<figure>{"".join(out)}<figcaption>{keys}</figcaption></figure>'


def _steps(points: Sequence[Point], px: object, py: object, end: float, colour: str, *, dashed: bool) -> str:
    assert callable(px) and callable(py)
    path = "".join(f"{'M' if k == 0 else 'H'}{px(x):.1f}{' ' if k == 0 else 'V'}{py(y):.1f}" for k, (x, y) in enumerate(points))
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<path d="{path}H{px(end):.1f}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'


def _room(low: float, high: float) -> tuple[float, float]:
    pad = (high - low) * 0.06 or abs(high) * 0.01 or 1.0
    return low - pad, high + pad


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round values in [low, high], about `most` of them."""
    raw = (high - low) / most
    power = 10 ** math.floor(math.log10(raw))
    step = next((k * power for k in (1, 2, 2.5, 5, 10) if k * power >= raw), raw)
    return [float(f"{k * step:.12g}") for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
