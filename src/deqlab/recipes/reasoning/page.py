"""What the report shows of a recipe that reasons, beside what it shows of every recipe."""

from deqlab.experiments.page import Chart, Table, chart, column, table

CLAIM = "Trained by loops, the network is at its equilibrium where it is used"

MAX_STEPS = "at most as many steps as the largest of its depths"


def charts(size: str | None) -> tuple[tuple[Chart, ...], tuple[Table, ...]]:
    """Return charts and tables.

    Args:
        size: What the size of a puzzle is, for the axis; None where all are of one size.
    """
    sizes = () if size is None else _of_sizes(size)
    return (
        (
            chart(
                "depth",
                "depth",
                "test_accuracy",
                title="Solved after so many loops",
                caption="On the hardest test puzzles, weights as trained. What does not fall here "
                "may be run for longer than it was trained.",
                x_label="loops",
                x_scale="log",
            ),
            chart(
                "depth",
                "depth",
                "solver_accuracy",
                title="Solved after so many steps of its solver",
                caption="The same weights, solved to rtol 1e-5 in at most so many steps.",
                x_label="steps",
                x_scale="log",
                y_label="test accuracy",
                y_format="percent",
            ),
            *sizes,
        ),
        (
            table(
                "size",
                "test_accuracy",
                "parts_right",
                column("converged", "converged"),
                column("test_evaluations", "evaluations of f"),
                by="size",
                title="Solved against size",
                caption="Puzzles that are right everywhere, and parts that are right.",
            ),
            table(
                "starts",
                column("cosine", "cosine of the ends"),
                column("same_state", "all starts end in one state", format="percent"),
                column("same_answer", "all starts give one answer", format="percent"),
                title="Path independence",
                caption="Test puzzles from several random starts (Anil et al. 2022).",
            ),
            table(
                "residual",
                column("residual", "relative residual"),
                "test_accuracy",
                by="part",
                title="Accuracy against the residual",
                caption="After 4 loops, in five parts of the test puzzles: from those nearest to "
                "their equilibrium to those farthest from it.",
                mark_best=False,
            ),
        ),
    )


def _of_sizes(size: str) -> tuple[Chart]:
    return (
        chart(
            "size",
            "size",
            "test_accuracy",
            title="Solved against size",
            caption="DEQs at their equilibrium, explicit networks as they are.",
            x_label=size,
            x_scale="log",
        ),
    )
