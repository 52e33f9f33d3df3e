"""Plots of the leaderboard as SVG files: dots on a line for each model, and curves. Plain text, no library."""

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, ROW, LEFT, RIGHT, TOP = 760, 22, 150, 24, 46
INK, QUIET = "#222", "#8a8a8a"
COLOURS = (
    "#0b6bcb",
    "#c2571a",
    "#2c8a4b",
    "#7a4fb5",
    "#b5223f",
    "#5a6b7b",
    "#c79a00",
    "#0f8f93",
    "#a65fa0",
    "#444",
    "#999",
    "#e07fb0",
    "#6b8e23",
    "#8c5a3c",
)


def _page(height: float, title: str, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'font-family="sans-serif" font-size="12" fill="{INK}"><title>{escape(title)}</title>'
        f'<rect width="{WIDTH}" height="{height:.0f}" fill="#fff"/>'
    )
    return "\n".join([head, _text(12, 20, title, weight="bold", size=14), *parts, "</svg>"]) + "\n"


def _text(
    x: float, y: float, words: str, anchor: str = "start", fill: str = INK, weight: str = "", size: int = 12
) -> str:
    bold = f' font-weight="{weight}"' if weight else ""
    at = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" font-size="{size}"{bold}'
    return f"<text {at}>{escape(words)}</text>"


def _ticks(low: float, high: float, n: int = 5) -> list[float]:
    """Round numbers from `low` to `high`."""
    rough = (high - low) / n or 1.0
    power = 10.0 ** len(str(int(rough))) / 10 if rough >= 1 else 1.0
    while power > rough:
        power /= 10
    step = min((power * m for m in (1, 2, 5, 10) if power * m >= rough), default=rough)
    first = -(-low // step)
    return [step * (first + i) for i in range(n + 2) if step * (first + i) <= high + 1e-9]


def dots(title: str, rows: Mapping[str, Mapping[str, float]], unit: str, *, marks: float | None = None) -> str:
    """A row for each model and a dot for each data set; `rows` is model -> data set -> value, `marks` a dashed line."""
    values = [value for row in rows.values() for value in row.values()]
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    low, high = min([*values, *([marks] if marks is not None else [])]), max([*values, marks or max(values)])
    pad = 0.05 * (high - low or 1.0)
    low, high = low - pad, high + pad
    bottom = TOP + ROW * len(rows)

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low)

    parts = [
        f'<path d="M{x(t):.1f} {TOP - 8}V{bottom}" stroke="#e4e4e4"/>'
        + _text(x(t), bottom + 16, f"{t:g}", "middle", QUIET)
        for t in _ticks(low, high)
    ]
    if marks is not None:
        parts.append(f'<path d="M{x(marks):.1f} {TOP - 8}V{bottom}" stroke="{INK}" stroke-dasharray="4 4"/>')
    for place, (model, row) in enumerate(rows.items()):
        y = TOP + ROW * (place + 0.5)
        parts.append(_text(LEFT - 10, y + 4, model, "end"))
        parts += [
            f'<circle cx="{x(v):.1f}" cy="{y:.1f}" r="5" fill="{COLOURS[names.index(n)]}">'
            f"<title>{escape(n)}: {v:.4g}</title></circle>"
            for n, v in row.items()
        ]
    parts += _legend(names, bottom + 38)
    parts.append(_text(WIDTH - RIGHT, bottom + 42, unit, "end", QUIET))
    return _page(bottom + 54, title, parts)


def curves(title: str, lines: Mapping[str, Sequence[tuple[float, float]]], across: str, up: str) -> str:
    """A curve of points (x, y) for each name, beside the dashed line y = 0."""
    points = [point for line in lines.values() for point in line]
    low, high = min(0.0, *(y for _, y in points)), max(0.0, *(y for _, y in points))
    pad = 0.08 * (high - low or 1.0)
    low, high, left, bottom = low - pad, high + pad, min(x for x, _ in points), TOP + 250
    most = max(x for x, _ in points)

    def at(x: float, y: float) -> tuple[float, float]:
        return 60 + (WIDTH - 60 - RIGHT) * (x - left) / (most - left or 1.0), bottom - 240 * (y - low) / (high - low)

    parts = [
        f'<path d="M60 {at(left, t)[1]:.1f}H{WIDTH - RIGHT}" stroke="#e4e4e4"/>'
        + _text(52, at(left, t)[1] + 4, f"{t:g}", "end", QUIET)
        for t in _ticks(low, high)
    ]
    parts += [_text(at(t, low)[0], bottom + 16, f"{t:g}", "middle", QUIET) for t in sorted({x for x, _ in points})]
    parts.append(f'<path d="M60 {at(left, 0)[1]:.1f}H{WIDTH - RIGHT}" stroke="{INK}" stroke-dasharray="4 4"/>')
    for place, line in enumerate(lines.values()):
        drawn = "L".join(f"{x:.1f} {y:.1f}" for x, y in (at(*point) for point in line))
        parts.append(f'<path d="M{drawn}" fill="none" stroke="{COLOURS[place]}" stroke-width="1.8"/>')
    rows = _legend(list(lines), bottom + 46)
    parts += [*rows, _text(WIDTH - RIGHT, bottom + 30, across, "end", QUIET), _text(12, 36, up, fill=QUIET)]
    return _page(bottom + 60 + 18 * ((len(lines) - 1) // 4), title, parts)


def _legend(names: Sequence[str], y: float) -> list[str]:
    """Names beside their colours, four a line."""
    return [
        f'<circle cx="{18 + 180 * (i % 4)}" cy="{y + 18 * (i // 4)}" r="5" fill="{COLOURS[i]}"/>'
        + _text(28 + 180 * (i % 4), y + 4 + 18 * (i // 4), name)
        for i, name in enumerate(names)
    ]
