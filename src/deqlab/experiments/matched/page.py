"""What the report shows of `matched-networks`."""

from deqlab.experiments.page import Chart, Column, Page, Table

ACCURACY = Chart(
    title="Test accuracy against width",
    caption="A readout on frozen random layers. A DEQ that is not at its equilibrium on 99 % "
    "of the images has no accuracy here.",
    rows="point",
    x="width",
    y="test_accuracy",
    x_label="width",
    y_label="test accuracy",
    x_scale="log",
    panel_by="family",
    y_format="percent",
)

TIME = Chart(
    title="Time of a forward pass against width",
    caption="All test images, from input to output, the solve of the DEQ included; medians of "
    "passes in turns with the DEQ of that width, on a machine that may have been busy.",
    rows="point",
    x="width",
    y="inference_seconds",
    x_label="width",
    y_label="time",
    x_scale="log",
    y_scale="log",
    panel_by="family",
    y_format="seconds",
)

WIDTHS = Table(
    title="Accuracy and cost at each width",
    caption="FLOPs: of the random layers for one image, all iterations of the DEQ included.",
    rows="point",
    columns=(
        Column(field="test_accuracy", label="test accuracy", format="percent"),
        Column(field="train_loss", label="train loss", format="number"),
        Column(field="inference_seconds", label="time of a pass", format="seconds"),
        Column(field="speedup", label="times as fast as the DEQ", format="number"),
        Column(field="flops", label="FLOPs per image", format="si"),
    ),
    by="width",
)

KERNELS = Table(
    title="How far the kernels are from the DEQ's",
    caption="|G - G_deq| / |G_deq|, exact conjugate kernels of infinite width on training images, "
    "in the spectral norm. At the best scale: with G times the number that brings it nearest, "
    "which another learning rate makes up for.",
    rows="summary",
    columns=(
        Column(field="kernel_error", label="kernel error", format="number"),
        Column(field="kernel_error_scaled", label="at the best scale", format="number"),
        Column(field="train_samples", label="training images", format="integer"),
        Column(field="test_samples", label="test images", format="integer"),
    ),
)

SOLVES = Table(
    title="How well the equilibria were solved",
    caption="Training and test images.",
    rows="point",
    columns=(
        Column(field="converged", label="converged", format="percent"),
        Column(field="residual", label="median relative residual", format="number"),
        Column(field="residual_max", label="worst relative residual", format="number"),
        Column(field="evaluations", label="evaluations of f", format="number"),
    ),
    by="width",
)

PAGE = Page(charts=(ACCURACY, TIME), tables=(WIDTHS, KERNELS, SOLVES))
