"""Time against volumes, as an SVG of a few lines: one polyline per series, its name at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 60, 190, 30, 50
COLOURS = ("#b04a3a", "#1f5fa8", "#555555")
DASHES = ("none", "none", "6 4")

Point = tuple[float, float]


def svg(series: Mapping[str, Sequence[Point]], title: str, across: str, upwards: str) -> str:
    """The picture; the axes begin at nought and end at a round number."""
    points = [point for each in series.values() for point in each]
    most_x, step_x = _round_up(max(x for x, _ in points))
    most_y, step_y = _round_up(max(y for _, y in points))

    def place(x: float, y: float) -> Point:
        return (
            round(LEFT + x / most_x * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - y / most_y * (HEIGHT - TOP - BOTTOM), 1),
        )

    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
            'font-size="12" fill="#333">'
        ),
        f"<title>{title}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="18" font-size="14">{title}</text>',
    ]
    for number in range(round(most_y / step_y) + 1):
        x, y = place(0, number * step_y)
        lines.append(f'<line x1="{x}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        lines.append(f'<text x="{x - 8}" y="{y + 4}" text-anchor="end">{number * step_y:g}</text>')
    for number in range(round(most_x / step_x) + 1):
        x, y = place(number * step_x, 0)
        lines.append(f'<text x="{x}" y="{y + 18}" text-anchor="middle">{number * step_x:g}</text>')
    lines.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{across}</text>'
        f'<text x="16" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 16 {HEIGHT / 2})">{upwards}</text>'
    )
    for (name, each), colour, dash in zip(series.items(), COLOURS, DASHES, strict=False):
        path = " ".join(f"{x},{y}" for x, y in (place(*point) for point in each))
        x, y = place(*each[-1])
        lines.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
        )
        lines += [f'<circle cx="{a}" cy="{b}" r="3" fill="{colour}"/>' for a, b in (place(*point) for point in each)]
        lines.append(f'<text x="{x + 8}" y="{y + 4}" fill="{colour}">{name}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _round_up(most: float) -> tuple[float, float]:
    """The axis' end and its step, so that it has four to ten steps."""
    step = 1.0
    while most / step > 10:
        step *= 2.5 if str(step)[0] == "2" else 2
    return step * -(-most // step), step
