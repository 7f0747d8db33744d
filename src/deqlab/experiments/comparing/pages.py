"""What the report shows of a comparison between a DEQ and FNNs."""

from deqlab.experiments.page import Chart, Column, Page, Table

RESIDUAL = Chart(
    title="Residual against iteration",
    caption="|f(z) - z| / |z| on the test set after training: the median sample. A network is a "
    "DEQ only where this falls below the tolerance.",
    rows="trace",
    x="iteration",
    y="residual",
    x_label="evaluation of f",
    y_label="relative residual",
    y_scale="log",
)

EVALUATIONS = Chart(
    title="What the equilibrium costs while it trains",
    caption="Evaluations of f per forward solve: it grows as training makes the layer contract "
    "less.",
    rows="step",
    x="step",
    y="evaluations",
    x_label="training step",
    y_label="evaluations of f",
)

SOLVES = Table(
    title="How well the equilibria were solved",
    caption="On the test set after training; train: forward and adjoint solves during training.",
    rows="summary",
    columns=(
        Column(field="converged", label="test samples converged", format="percent"),
        Column(field="residual_max", label="worst relative residual", format="number"),
        Column(field="test_evaluations", label="evaluations of f, test", format="number"),
        Column(field="evaluations", label="evaluations of f, train", format="number"),
        Column(field="adjoint_products", label="adjoint products, train", format="number"),
        Column(field="train_converged", label="samples converged, train", format="percent"),
    ),
)


def comparison_page(score: Column, about: str) -> Page:
    """Return the page of a comparison.

    Args:
        score: What is compared, a field of the summary rows.
        about: A sentence about the test loss.
    """
    curve = Chart(
        title="Learning curves",
        caption=f"Test loss while training. {about} Each panel holds the FNNs that match the DEQ "
        "in one cost.",
        rows="step",
        x="step",
        y="test_loss",
        x_label="training step",
        y_label="test loss",
        y_scale="log",
        panel_by="matching",
    )
    against_flops = Chart(
        kind="scatter",
        title=f"{score.label.capitalize()} against the cost of a training step",
        caption="Medians over seeds after training, with the range.",
        rows="summary",
        x="flops_per_step",
        y=score.field,
        x_label="FLOPs per training step",
        y_label=score.label,
        x_scale="log",
        y_scale=curve.y_scale if score.field == curve.y else "linear",
        y_format=score.format,
    )
    cost = Table(
        title="What it costs",
        caption="Medians over seeds, with the range. FLOPs are counted while training runs, solver "
        "and adjoint iterations included; seconds are of training alone, on a machine that may "
        "have been busy.",
        rows="summary",
        columns=(
            score,
            Column(field="test_loss", label="test loss", format="number", better="lower"),
            Column(field="train_loss", label="train loss", format="number", better="lower"),
            Column(field="parameters", label="parameters", format="integer"),
            Column(field="flops_per_step", label="FLOPs per step", format="si", better="lower"),
            Column(field="peak_memory_bytes", label="peak memory", format="bytes", better="lower"),
            Column(field="seconds", label="training time", format="seconds", better="lower"),
        ),
    )
    return Page(charts=(curve, against_flops, RESIDUAL, EVALUATIONS), tables=(cost, SOLVES))
