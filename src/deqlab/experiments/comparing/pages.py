"""What the report shows of a comparison between a DEQ and FNNs."""

from deqlab.experiments.page import Page, chart, column, known, table

RESIDUAL = chart(
    "trace",
    "iteration",
    "residual",
    title="Residual against iteration",
    caption="|f(z) - z| / |z| on the test set after training: the median sample. A network is a "
    "DEQ only where this falls below the tolerance.",
    level=("rtol", "test_rtol"),
)

EVALUATIONS = chart(
    "step",
    "step",
    "evaluations",
    title="What the equilibrium costs while it trains",
    caption="Evaluations of f per forward solve: it grows as training makes the layer contract "
    "less.",
)

SOLVES = table(
    "summary",
    column("converged", "test samples converged"),
    "residual_max",
    column("test_evaluations", "evaluations of f, test"),
    column("evaluations", "evaluations of f, train"),
    column("adjoint_products", "adjoint products, train"),
    column("train_converged", "samples converged, train", format="percent"),
    title="How well the equilibria were solved",
    caption="On the test set after training; train: forward and adjoint solves during training.",
)


def comparison_page(score: str, about: str) -> Page:
    """Return the page of a comparison.

    Args:
        score: The field of the summary rows that is compared.
        about: A sentence about the test loss.
    """
    curve = chart(
        "step",
        "step",
        "test_loss",
        title="Learning curves",
        caption=f"Test loss while training. {about} Each panel holds the FNNs that match the DEQ "
        "in one cost.",
        panel_by="matching",
    )
    against_flops = chart(
        "summary",
        "flops_per_step",
        score,
        kind="scatter",
        title=f"{known(score).label.capitalize()} against the cost of a training step",
        caption="Medians over seeds after training, with the range.",
    )
    cost = table(
        "summary",
        score,
        "test_loss",
        "train_loss",
        "parameters",
        "flops_per_step",
        "peak_memory_bytes",
        "seconds",
        title="What it costs",
        caption="Medians over seeds, with the range. FLOPs are counted while training runs, solver "
        "and adjoint iterations included; seconds are of training alone, on a machine that may "
        "have been busy.",
    )
    return Page(charts=(curve, against_flops, RESIDUAL, EVALUATIONS), tables=(cost, SOLVES))
