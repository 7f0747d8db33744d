"""The pictures of the docs."""

from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

FIGURES = Path(__file__).parent.parent / "docs" / "figures"


def save(figure: Figure, file: str) -> None:
    """Write an SVG; without date and random ids, so that the same rows draw the same file."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    with plt.rc_context({"svg.hashsalt": file, "svg.fonttype": "none"}):
        figure.savefig(FIGURES / file, metadata={"Date": None})
    plt.close(figure)
