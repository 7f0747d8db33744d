"""The pictures of docs/learn and docs/gallery, from the code that stands on their pages.

    python -m benchmarks.pages

Runs the Python blocks of each page, as the tests do, and draws what they leave behind into
docs/figures. No picture shows what its page does not compute. Kinds of lines differ in dash or
marker, not in colour alone.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from matplotlib import pyplot as plt

from benchmarks import figures
from benchmarks.animation import draw_fixed_point

DOCS = Path(__file__).parent.parent / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLUE, ORANGE, GREY = "#1f4fd8", "#c2500a", "0.35"

Names = dict[str, Any]
"""What the code of a page leaves behind."""


def run(page: Path) -> Names:
    """Run the Python blocks of a page, one after the other, and return their names."""
    torch.manual_seed(0)
    names: Names = {"__name__": page.stem}
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        exec(compile(block, str(page), "exec"), names)
    return names


def ten_minutes(names: Names) -> plt.Figure:
    """Draw the iterates, and the residual against the step."""
    path = torch.tensor(names["path"])
    residuals = (torch.tanh(0.8 * path + 0.3) - path).abs()
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.8), layout="constrained")
    left.plot(path, "o-", color=BLUE, markersize=3.5)
    left.axhline(path[-1], color=ORANGE, linestyle="--", label="fixed point")
    left.set(xlabel="step", ylabel="z", title="the iterates")
    left.legend(frameon=False, loc="lower right")
    right.semilogy(residuals, "o-", color=BLUE, markersize=3.5)
    right.set(xlabel="step", ylabel="|f(z) - z|", title="the residual")
    return figure


def when_iteration_fails(names: Names) -> plt.Figure:
    """Draw four maps of one number with the staircase of their iteration."""
    maps = {
        "slope -0.7: found": (lambda z: 1 - 0.7 * z, 0.1, 12),
        "slope -1.3: left": (lambda z: 1 - 1.3 * z, 0.4, 9),
        "tanh(2z): two": (names["steep"], 0.1, 8),
        "z + 1: none": (lambda z: z + 1, -1.5, 3),
    }
    figure, axes = plt.subplots(2, 2, figsize=(6, 6), layout="constrained")
    grid = torch.linspace(-1.6, 1.6, 200)
    for axis, (title, (f, start, steps)) in zip(axes.flat, maps.items(), strict=True):
        axis.plot(grid, grid, color=GREY, linewidth=1, linestyle=":")
        axis.plot(grid, f(grid), color=BLUE, linewidth=1.8)
        z, corners = torch.tensor(start), []
        for _ in range(steps):
            corners += [(z, z), (z, f(z))]
            z = f(z)
        axis.plot(*zip(*corners, strict=True), color=ORANGE, linewidth=1.2, marker=".")
        axis.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), title=title, aspect="equal")
    axes[1, 0].set(xlabel="z", ylabel="f(z)")
    return figure


def where_gradients_come_from(names: Names) -> plt.Figure:
    """Draw the error of truncated gradients against the steps they keep."""
    figure, axis = plt.subplots(figsize=(5.6, 3), layout="constrained")
    axis.semilogy(names["steps"], names["truncated"], "o-", color=BLUE, label="last k steps")
    radius = torch.linalg.eigvals(names["jacobian"]).abs().max().item()
    steps = torch.arange(1, 13)
    first = names["truncated"][0]
    axis.semilogy(steps, first * radius ** (steps - 1.0), "--", color=ORANGE, label="radius^k")
    axis.set(xlabel="steps kept", ylabel="relative error of the gradient")
    axis.legend(frameon=False)
    return figure


def spiral(names: Names) -> plt.Figure:
    """Draw the paths of two solvers."""
    figure, axis = plt.subplots(figsize=(4.4, 3.6), layout="constrained")
    picard, anderson = names["paths"].values()
    axis.plot(*picard.T, ".-", color=BLUE, linewidth=0.8, label=f"Picard, {len(picard)} points")
    label = f"Anderson, {len(anderson)}"
    axis.plot(*anderson.T, "s--", color=ORANGE, markersize=5, label=label)
    axis.legend(frameon=False)
    return figure


def basins(names: Names) -> plt.Figure:
    """Draw which memory each start comes to."""
    figure, axis = plt.subplots(figsize=(4.4, 3.6), layout="constrained")
    recalled = names["recalled"]
    kinds = recalled.unique()
    shades = torch.searchsorted(kinds, recalled)
    axis.imshow(shades.numpy(), origin="lower", extent=(-2, 2, -2, 2), cmap="cividis")
    for kind in kinds.tolist():
        rows, columns = (recalled == kind).nonzero(as_tuple=True)
        name = "-" * (kind % 2) + "ABC"[kind // 2]
        x, y = (4 * columns.double().mean() / 59 - 2, 4 * rows.double().mean() / 59 - 2)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 2}
        axis.text(x, y, name, ha="center", va="center", bbox=box)
    axis.set(xlabel="share of pattern A", ylabel="share of pattern B")
    return figure


def hard_inputs(names: Names) -> plt.Figure:
    """Draw the steps of each input."""
    figure, axis = plt.subplots(figsize=(4.4, 3.6), layout="constrained")
    image = axis.imshow(
        names["steps"].numpy(), origin="lower", extent=(-6, 6, -6, 6), cmap="cividis"
    )
    figure.colorbar(image, label="steps")
    axis.set(xlabel="first input", ylabel="second input")
    return figure


def steep(names: Names) -> plt.Figure:
    """Draw the ramps."""
    figure, axis = plt.subplots(figsize=(4.4, 3.6), layout="constrained")
    for style, (w, ramp) in zip(("-", "--", "-.", ":"), names["ramps"].items(), strict=True):
        axis.plot(names["x"][:, 0], ramp, style, label=f"w = {w}", linewidth=1.8)
    axis.set(xlabel="x", ylabel="z")
    axis.legend(frameon=False)
    return figure


def moons(names: Names) -> plt.Figure:
    """Draw the points, and what the network says of the plane."""
    line = torch.linspace(-1.5, 2.5, 80)
    a, b = torch.meshgrid(line, line * 0.6, indexing="xy")
    with torch.no_grad():
        scores = names["model"](torch.stack([a.flatten(), b.flatten()], dim=1))
    share = scores.softmax(1)[:, 1].reshape(80, 80)
    figure, axis = plt.subplots(figsize=(4.4, 3.6), layout="constrained")
    axis.contourf(a, b, share, levels=8, cmap="cividis", alpha=0.75)
    for label, marker in ((0, "o"), (1, "^")):
        points = names["x"][names["y"] == label]
        axis.plot(*points.T, marker, color="white", markeredgecolor="black", markersize=5)
    return figure


def graph(names: Names) -> plt.Figure:
    """Draw what each node hears, for both restarts."""
    figure, axes = plt.subplots(1, 2, figsize=(4.8, 2.6), layout="constrained")
    for axis, (restart, heard) in zip(axes, names["heard"].items(), strict=True):
        image = axis.imshow(heard.clamp_min(1e-6).log10().numpy(), cmap="cividis", vmin=-5, vmax=0)
        axis.set(title=f"restart {restart}", xticks=[], yticks=[])
    figure.colorbar(image, ax=axes, label="log10 of the share", shrink=0.7)
    return figure


def inpainting(names: Names) -> plt.Figure:
    """Draw the picture, what is known of it, and the fixed point."""
    seen = names["picture"].masked_fill(names["known"] == 0, float("nan"))
    shown = {"there was": names["picture"], "is known": seen, "filled in": names["solution"].value}
    figure, axes = plt.subplots(1, 3, figsize=(4.8, 2), layout="constrained")
    for axis, (title, picture) in zip(axes, shown.items(), strict=True):
        axis.imshow(picture[0, 0].numpy(), cmap="gray")
        axis.set(title=title, xticks=[], yticks=[])
    return figure


def transport(names: Names) -> plt.Figure:
    """Draw the plan between its two heaps."""
    figure, axis = plt.subplots(figsize=(4.4, 3.6), layout="constrained")
    plan = names["plan"].detach().numpy()
    axis.imshow(plan, origin="lower", extent=(0, 1, 0, 1), cmap="cividis")
    axis.plot(names["t"], names["target"].detach() * 3, color="white", label="to")
    axis.plot(names["source"] * 3, names["t"], "--", color="white", label="from")
    axis.set(xlabel="to", ylabel="from")
    return figure


def grid_world(names: Names) -> plt.Figure:
    """Draw the values, and the way that climbs them."""
    figure, axis = plt.subplots(figsize=(4.4, 3.6), layout="constrained")
    values = names["values"].masked_fill(names["wall"], float("nan"))
    figure.colorbar(axis.imshow(values.numpy(), cmap="cividis"), label="value")
    place, way = (4, 4), [(4, 4)]
    while place != names["goal"] and len(way) < 100:
        row, column = place
        around = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        inside = [(i, j) for i, j in around if 0 <= i < 10 and 0 <= j < 10]
        place = max(inside, key=lambda p: values[p].nan_to_num(-1.0))
        way.append(place)
    rows, columns = zip(*way, strict=True)
    axis.plot(columns, rows, "o-", color="white", markeredgecolor="black", markersize=4)
    axis.set(xticks=[], yticks=[])
    return figure


def steady_state(names: Names) -> plt.Figure:
    """Draw the load, the membrane, and the gradient of its centre."""
    load = names["load"]
    shown = {"load": load, "membrane": names["solution"].value, "felt by the centre": load.grad}
    figure, axes = plt.subplots(1, 3, figsize=(5.6, 2.2), layout="constrained")
    for axis, (title, picture) in zip(axes, shown.items(), strict=True):
        axis.imshow(picture.detach()[0].numpy(), cmap="cividis")
        axis.set(title=title, xticks=[], yticks=[])
    return figure


LEARN = (ten_minutes, when_iteration_fails, where_gradients_come_from)
GALLERY = (
    spiral,
    basins,
    hard_inputs,
    steep,
    moons,
    graph,
    inpainting,
    transport,
    grid_world,
    steady_state,
)


def page_of(drawing: Callable[[Names], plt.Figure]) -> tuple[Path, str]:
    """Return the page of a picture, and the name of its file."""
    name = drawing.__name__.replace("_", "-")
    if drawing in LEARN:
        return DOCS / "learn" / f"{name}.md", f"{name}.svg"
    return DOCS / "gallery" / f"{name}.md", f"gallery-{name}.svg"


def main() -> None:
    """Draw them all."""
    draw_fixed_point(figures.FIGURES / "fixed-point.svg")
    for drawing in (*LEARN, *GALLERY):
        page, file = page_of(drawing)
        figures.save(drawing(run(page)), file)


if __name__ == "__main__":
    main()
