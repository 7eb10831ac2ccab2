"""Charts as inline SVG, without a script: the values are titles, which a browser shows under the pointer and reads aloud."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import pairwise

import numpy as np

from darkcovid.report.colors import color_of

WIDTH, WIDE, HEIGHT = 340, 480, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 38
MAX_LINE_POINTS, MAX_TITLED_POINTS = 150, 30

Range = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: For the legend.
        x: (n) numbers.
        y: (n) numbers; those that are not finite are left out.
        step: Whether the line goes in steps.
        low: (n) lower ends of intervals; empty: none.
        high: (n) upper ends.
        joined: Whether the points are joined.
        color: As `#rrggbb`; '': by its place among the lines.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    step: bool = False
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    joined: bool = True
    color: str = ""


@dataclass(frozen=True)
class Axes:
    """What a chart's axes say and span.

    Attributes:
        x: Label.
        y: Label.
        x_range: None: that of the points.
        y_range: None: that of the points.
        diagonal: Whether the line from (0, 0) to (1, 1) is drawn.
        level: A dashed horizontal line at this height; None: none.
        wide: Whether it is wider than others.
    """

    x: str
    y: str
    x_range: Range | None = None
    y_range: Range | None = None
    diagonal: bool = False
    level: float | None = None
    wide: bool = False


def line_chart(title: str, lines: Sequence[Line], axes: Axes) -> str:
    """A chart of lines.

    Args:
        title: What it shows, for a reader who cannot see it.
        lines: At least one with a point, or '' is returned.
        axes: Labels and ranges.

    Returns:
        SVG.
    """
    lines = [_finite(line) for line in lines]
    if not any(len(line.x) for line in lines):
        return ""
    width = WIDE if axes.wide else WIDTH
    x_range = axes.x_range or _span([line.x for line in lines])
    y_range = axes.y_range or _span([*(line.y for line in lines), *(line.low for line in lines), *(line.high for line in lines)])
    place = _Scale(x_range, y_range, width)
    parts = [_grid(place, axes)]
    if axes.diagonal:
        parts.append(f'<path class="rule" d="M{place.at(0, 0)}L{place.at(1, 1)}"/>')
    if axes.level is not None:
        parts.append(f'<path class="rule" d="M{place.at(x_range[0], axes.level)}L{place.at(x_range[1], axes.level)}"/>')
    for index, line in enumerate(lines):
        parts.append(_line(line, line.color or color_of(index, len(lines)), place, axes))
    label = escape(f"{title}: {axes.y} by {axes.x}")
    return f'<svg viewBox="0 0 {width} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


class _Scale:
    """From values to places in the drawing."""

    def __init__(self, x_range: Range, y_range: Range, width: int):
        self.x_range, self.y_range, self.width = x_range, y_range, width

    def x(self, value: float) -> float:
        low, high = self.x_range
        return LEFT + (value - low) / (high - low or 1) * (self.width - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return HEIGHT - BOTTOM - (value - low) / (high - low or 1) * (HEIGHT - TOP - BOTTOM)

    def at(self, x: float, y: float) -> str:
        return f"{self.x(x):.1f} {self.y(y):.1f}"


def _finite(line: Line) -> Line:
    x, y = np.asarray(line.x, float), np.asarray(line.y, float)
    known = np.isfinite(x) & np.isfinite(y)
    low, high = (np.asarray(end, float)[known].tolist() if len(end) else () for end in (line.low, line.high))
    return replace(line, x=x[known].tolist(), y=y[known].tolist(), low=low, high=high)


def _span(columns: Sequence[Sequence[float]]) -> Range:
    """The range of values, a little wider; from 0 where they are positive and near it."""
    values = [value for column in columns for value in column]
    low, high = min(values), max(values)
    room = (high - low or abs(high) or 1) * 0.06
    return (0.0 if 0 <= low < (high - low) else low - room), high + room


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers in a range.

    Args:
        low: Its start.
        high: Its end.
        most: About how many.

    Returns:
        Multiples of 1, 2 or 5 times a power of ten.
    """
    rough = (high - low) / most or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _grid(place: _Scale, axes: Axes) -> str:
    right, bottom, middle = place.width - RIGHT, HEIGHT - BOTTOM, (HEIGHT - BOTTOM + TOP) / 2
    parts = []
    for value in ticks(*place.y_range):
        y = place.y(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in ticks(*place.x_range, 8 if axes.wide else 5):
        parts.append(f'<text x="{place.x(value):.1f}" y="{bottom + 14}" text-anchor="middle">{value:g}</text>')
    parts.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(axes.x)}</text>')
    parts.append(f'<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">{escape(axes.y)}</text>')
    return "".join(parts)


def _line(line: Line, color: str, place: _Scale, axes: Axes) -> str:
    points = list(zip(line.x, line.y, strict=True))
    if not points:
        return ""
    parts = []
    if line.joined:
        drawn = [points[row] for row in _evenly(len(points), MAX_LINE_POINTS)]
        path = "M" + place.at(*drawn[0])
        for (_, before), (x, y) in pairwise(drawn):
            path += f"L{place.at(x, before)}L{place.at(x, y)}" if line.step else f"L{place.at(x, y)}"
        parts.append(f'<path class="line" stroke="{color}" d="{path}"/>')
    for row in _evenly(len(points), MAX_TITLED_POINTS):
        x, y = points[row]
        text = f"{line.name}: {axes.x} {x:.4g}, {axes.y} {y:.3f}"
        if len(line.low):
            text += f" ({line.low[row]:.3f} to {line.high[row]:.3f})"
            parts.append(
                f'<path class="whisker" stroke="{color}" d="M{place.at(x, line.low[row])}L{place.at(x, line.high[row])}"/>'
            )
        kind = "point" if not line.joined or len(points) < 3 else "spot"
        left, top = place.at(x, y).split()
        title = f"<title>{escape(text)}</title>"
        parts.append(f'<circle class="{kind}" fill="{color}" cx="{left}" cy="{top}" r="5">{title}</circle>')
    return "".join(parts)


def _evenly(count: int, most: int) -> list[int]:
    """Rows, the first and the last among them."""
    return list(range(count)) if count <= most else sorted({round(row) for row in np.linspace(0, count - 1, most)})
