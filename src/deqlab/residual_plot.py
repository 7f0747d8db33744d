"""The picture of a solve: the residual of each sample against steps, with what it may be."""

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MANY = 50
"""Samples that are drawn; of more, those of the largest last residuals."""

CONVERGED, FAILED = "#0072b2", "#d55e00"
"""Blue and vermilion, which people with any kind of colour vision tell apart."""


def draw_residuals(
    trace: Tensor,
    *,
    steps: Tensor,
    tolerance: Tensor,
    converged: Tensor,
    axes: "Axes | None",
) -> "Axes":
    """Draw the residuals of some solves, one line a sample; see `Solution.plot`.

    Args:
        trace: Residuals, (T, B).
        steps: Until each sample's verdict, (B,).
        tolerance: What its residual may be, (B,).
        converged: Whether it is, (B,).
        axes: Where to draw; None makes a figure.
    """
    if not len(trace):
        raise ValueError(
            "there is no trace to plot: solves that torch.compile compiled keep none; solve "
            "without it"
        )
    if axes is None:
        from matplotlib import pyplot  # a second to import

        axes = pyplot.subplots()[1]
    ends = trace[-1].nan_to_num(nan=float("inf"))
    drawn = ends.argsort(descending=True)[:MANY].tolist()
    legend: set[bool] = set()
    for sample in reversed(drawn):  # the worst lies on top
        sound = bool(converged[sample])
        taken = max(1, int(steps[sample]))
        axes.plot(
            range(1, taken + 1),
            trace[:taken, sample].tolist(),
            color=CONVERGED if sound else FAILED,
            linestyle="-" if sound else "--",
            linewidth=1.2,
            marker="." if taken == 1 else None,
            label=None if sound in legend else ("converged" if sound else "missed the tolerance"),
        )
        legend.add(sound)
    low, high = tolerance.min().item(), tolerance.max().item()
    axes.axhline(high, color="black", linestyle=":", linewidth=1.2, label="tolerance")
    if low < high:
        axes.axhspan(low, high, color="black", alpha=0.1, linewidth=0)
    axes.set_yscale("log", nonpositive="mask")
    axes.set_xlabel("step")
    axes.set_ylabel("residual |f(z) - z|")
    axes.legend()
    return axes
