"""The animated picture of the home page: the iteration of z = cos z, drawn step by step.

It is one SVG without scripts and without anything from elsewhere. It takes its colours from the
page, comes to rest after three rounds, and stands still where the reader asked for less motion.
"""

import math
from pathlib import Path

import torch

from deqlab import Picard, fixed_point

WIDTH, HEIGHT, LEFT, LOW, HIGH = 480, 330, 40, 0.0, 1.1
SECONDS = 9


def draw_fixed_point(file: Path) -> None:
    """Write the picture."""
    iterates = _iterates(40)
    corners = [corner for z in iterates[:14] for corner in ((z, z), (z, math.cos(z)))]
    rest = iterates[-1]
    curve = [(z / 50, math.cos(z / 50)) for z in range(56)]
    file.write_text(
        f'<svg class="dq-picture" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'xmlns="http://www.w3.org/2000/svg" aria-label="The staircase of z = cos z: up or down to '
        'the curve, across to the diagonal, and so into the fixed point at 0.739">\n'
        f"{_style()}\n"
        f'<path class="dq-axis" d="{_path([(0, HIGH), (0, 0), (HIGH, 0)])}"/>\n'
        f'<path class="dq-diagonal" d="{_path([(0, 0), (HIGH, HIGH)])}"/>\n'
        f'<path class="dq-curve" d="{_path(curve)}"/>\n'
        f'<path class="dq-steps" pathLength="1" d="{_path(corners)}"/>\n'
        f"{_text(1.09, 0.35, 'f(z) = cos z', 'end')}\n{_text(1.03, 1.06, 'z', 'end')}\n"
        f"{_text(rest, 0.2, f'z* = {rest:.3f}', 'middle')}\n"
        f'<path class="dq-axis" d="{_path([(rest, 0.25), (rest, rest - 0.04)])}"/>\n'
        f'<circle class="dq-rest" cx="{_x(rest):.1f}" cy="{_y(rest):.1f}" r="7"/>\n</svg>\n',
        encoding="utf-8",
    )


def _iterates(count: int) -> list[float]:
    start = torch.full((1, 1), 0.08, dtype=torch.float64)
    solver = Picard(record=tuple(range(1, count)), rtol=1e-12)
    solution = fixed_point(torch.cos, start, solver=solver, on_failure="ignore")
    return [start.item(), *(state.item() for state in solution.states)]


def _x(z: float) -> float:
    return LEFT + (WIDTH - LEFT - 10) * (z - LOW) / (HIGH - LOW)


def _y(value: float) -> float:
    return HEIGHT - 25 - (HEIGHT - 35) * (value - LOW) / (HIGH - LOW)


def _path(points: list[tuple[float, float]]) -> str:
    return "M" + " L".join(f"{_x(z):.1f} {_y(value):.1f}" for z, value in points)


def _text(z: float, value: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{_x(z):.1f}" y="{_y(value):.1f}" text-anchor="{anchor}">{text}</text>'


def _style() -> str:
    return f"""<style>
.dq-picture text {{ font: 15px system-ui, sans-serif; fill: currentColor; }}
.dq-picture path {{ fill: none; stroke-linejoin: round; }}
.dq-axis {{ stroke: currentColor; stroke-width: 1; opacity: .5; }}
.dq-diagonal {{ stroke: currentColor; stroke-width: 1.2; stroke-dasharray: 2 5; }}
.dq-curve {{ stroke: var(--pst-color-primary, #1f4fd8); stroke-width: 3; }}
.dq-steps {{ stroke: var(--pst-color-secondary, #c2500a); stroke-width: 2; stroke-dasharray: 1; }}
.dq-rest {{ fill: none; stroke: var(--pst-color-secondary, #c2500a); stroke-width: 2.5; }}
@media (prefers-reduced-motion: no-preference) {{
  .dq-steps {{ animation: dq-draw {SECONDS}s linear 3; }}
  .dq-rest {{ animation: dq-rest {SECONDS}s ease-out 3; transform-box: fill-box;
    transform-origin: center; }}
}}
@keyframes dq-draw {{ from {{ stroke-dashoffset: 1; }} 80%, to {{ stroke-dashoffset: 0; }} }}
@keyframes dq-rest {{ from, 76% {{ opacity: 0; transform: scale(3); }} 84%, to {{ opacity: 1; }} }}
</style>"""
