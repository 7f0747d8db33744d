"""The picture of docs/operators.md.

    python -m benchmarks.darcy [RUN]

Reads a run of `deqlab train darcy`, `benchmarks/results/models/darcy` unless another is named, and
writes docs/figures/darcy.svg: test fields, what is true of them, and what each network answers.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from benchmarks import figures
from benchmarks.tables import RESULTS
from deqlab.report.arms import arms_of
from deqlab.report.chart_reader import IMAGES
from deqlab.report.images import Grid, read_images
from deqlab.report.rows import read_run


def fields_of(path: Path) -> Grid:
    """Return the pictures that a run declares.

    Raises:
        ReportError: There is no run, or it has none.
    """
    run = read_run(path)
    (spec,) = (spec for spec in run.charts if spec.get("kind") == IMAGES)
    return read_images(spec, arms_of(run), where=run.name)


def draw(grid: Grid) -> None:
    """Write the figure."""
    shape = len(grid.lines), len(grid.columns)
    figure, axes = plt.subplots(
        *shape, figsize=(1.5 * shape[1], 1.35 * shape[0]), squeeze=False, layout="constrained"
    )
    for ax, line in zip(axes[:, 0], grid.lines, strict=True):
        ax.set_ylabel(line.replace(", ", "\n"), fontsize=8)
    for ax, column in zip(axes[0], grid.columns, strict=True):
        ax.set_title(column.replace(", ", "\n"), fontsize=8)
    for row, line in zip(axes, grid.lines, strict=True):
        for ax, column in zip(row, grid.columns, strict=True):
            ax.set(xticks=[], yticks=[], frame_on=False)
            picture = grid.pictures.get((line, column))
            if picture is not None:
                ax.imshow(np.asarray(picture.pixels, dtype=float), vmin=0, vmax=1, cmap="magma")
    figures.save(figure, "darcy.svg")


def main() -> None:
    """Draw the run that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", nargs="?", type=Path, default=RESULTS / "models" / "darcy")
    draw(fields_of(parser.parse_args().run))


if __name__ == "__main__":
    main()
