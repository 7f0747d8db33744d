"""What the report shows of a recipe."""

from collections.abc import Sequence

from deqlab.experiments.page import Chart, Images, Page, Table, chart, column, table
from deqlab.recipes.task import Metric


def page_of(
    metric: Metric,
    others: Sequence[str],
    charts: Sequence[Chart | Images],
    tables: Sequence[Table],
    *,
    max_steps: str,
    tolerance: str,
) -> Page:
    """Return the page of a recipe.

    Args:
        metric: What its networks are compared by.
        others: Other fields that its tables have beside.
        charts: Charts that stand behind those of every recipe.
        tables: Tables, likewise.
        max_steps: In how many steps the equilibrium is to be found in a test, in words.
        tolerance: To what it is to be found, in words.
    """
    fields = (metric.field, *others)
    return Page(
        charts=(
            chart(
                "step",
                "step",
                metric.field,
                title="Learning curves",
                caption=f"On the test samples while training, DEQs solved to {tolerance}.",
            ),
            chart(
                "step",
                "step",
                "train_converged",
                title="Samples at their equilibrium while training",
                caption="The share of the samples whose solves converged, in the worst layer. "
                "Below 99 % the network that is trained is no DEQ.",
            ),
            chart(
                "step",
                "step",
                "rate",
                title="The rate of the solves",
                caption="The factor by which residuals fall in a step, the median sample. The "
                "controller turns the feedback down where it is above its target.",
            ),
            chart(
                "step",
                "step",
                "evaluations",
                title="What the equilibrium costs",
                caption="Evaluations of f per forward solve while training.",
            ),
            chart(
                "feedback",
                "loops",
                metric.field,
                title="The same weights at so many loops",
                caption="On the test samples, after so many evaluations of f from the start; the "
                "last point is the network as it is: a DEQ at its equilibrium.",
                x_label="evaluations of f",
            ),
            chart(
                "feedback",
                "loops",
                "residual",
                title="How far from the equilibrium so many loops are",
                caption="The relative residual of the median sample.",
                x_label="evaluations of f",
                level=_level(tolerance),
            ),
            *charts,
        ),
        tables=(
            table(
                "summary",
                *fields,
                column("converged", "test samples converged"),
                column("test_evaluations", "evaluations of f, test"),
                column("evaluations", "evaluations of f, train"),
                column("adjoint_products", "adjoint products, train"),
                "parameters",
                "flops_per_step",
                "seconds",
                title="What was reached, and what it cost",
                caption="Medians over seeds, with the range. Converged: to "
                f"{tolerance} in {max_steps}. "
                "Seconds are of training alone, on a machine that may have been busy.",
            ),
            table(
                "certificate",
                column("proved", format="text"),
                column("margin", "margin"),
                column("lipschitz", "Lipschitz bound"),
                column("perturbation", "change of weights that it survives"),
                by="when",
                title="What is proved of the DEQ",
                caption="Of every input, by a theorem; the rows of the run name it. Not proved is "
                "not ill-posed.",
                mark_best=False,
            ),
            table(
                "feedback",
                *fields,
                column("residual", "relative residual, median"),
                by="iterate",
                title="The same weights at so many loops, and how much comes from the feedback",
                caption="Of the trained network after so many evaluations of f from its "
                "start, and at its equilibrium. Where few of them suffice, it is nearly explicit.",
                mark_best=False,
            ),
            *tables,
        ),
    )


def _level(tolerance: str) -> tuple[str | float, ...]:
    """Return what a tolerance in words, "rtol 1e-2" or "the rtol of the config", is on a chart."""
    number = tolerance.removeprefix("rtol ")
    return ("rtol",) if number == tolerance else (float(number),)
